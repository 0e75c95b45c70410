package daemon

import "testing"

func TestSeveralUsers_IsTrueWhereOthersLogIn(t *testing.T) {
	const system = "root:x:0:0:root:/root:/bin/bash\nsync:x:4:65534:sync:/bin:/bin/sync\nnobody:x:65534:65534:nobody:/:/bin/sh\n"
	const alice, bob = "alice:x:1000:1000::/home/alice:/bin/bash\n", "bob:x:1001:1001::/home/bob:/bin/zsh\n"
	const files = "passwd:         files systemd\ngroup:          files\n"
	for _, tt := range []struct {
		name, passwd, nsswitch string
		want                   bool
	}{
		{"nobody but the system", system, files, false},
		{"one person", system + alice, files, false},
		{"two persons", system + alice + bob, files, true},
		{"one person of two names", system + alice + "al:x:1000:1000::/home/alice:/bin/sh\n", files, false},
		{"a service has no shell", system + alice + "svc:x:1001:1001::/:/usr/sbin/nologin\nold:x:1002:1002::/:/bin/false\n", files, false},
		{"no shell named is /bin/sh", system + alice + "bob:x:1001:1001::/home/bob:\n", files, true},
		{"a last line without its end", system + alice + "bob:x:1001:1001::/home/bob:/bin/sh", files, true},
		{"lines that are none", "alice\n\n:::\nx:x:y:0::/:/bin/sh\n" + alice, files, false},
		{"a directory has many", system, "passwd: files sss\n", true},
		{"another directory", system, "# by hand\npasswd:\tfiles [NOTFOUND=continue] ldap # all\n", true},
		{"a directory of other things", system, "passwd: files\ngroup: files ldap\nautomount: sss\n", false},
		{"a directory commented out", system, "#passwd: sss\npasswd: files # sss\n", false},
		{"no files at all", "", "", false},
	} {
		if got := hasSeveralUsers(tt.passwd, tt.nsswitch); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
	t.Logf("this machine has several users: %v", severalUsers())
}
