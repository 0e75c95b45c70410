package proxy

import (
	"slices"
	"testing"
)

func TestGroupsOf_ReadsTheMachinesOwnFiles(t *testing.T) {
	const passwd = "root:x:0:0:root:/root:/bin/bash\n# a comment\ncron:x:1001:1001::/home/cron:/bin/sh\nalso-cron:x:1001:7::/:/bin/sh\n" +
		"broken\nno-group:x:1002:x::/:/bin/sh\n+@netgroup::::::\n+::1003:1003:::\n::1004:1004:::\n"
	const group = "root:x:0:\nlab:x:2000:alice,cron\ncron:x:1001:cron\nother:x:2001:cronjob,also-cron\nlast:x:2002:no-group,cron\n" +
		"broken:x:many:cron\nshort:x:2003\n-minus:x:2004:cron\n"
	for _, tt := range []struct {
		name string
		uid  uint32
		want []uint32
	}{
		{"its own group and those that list it", 1001, []uint32{1001, 2000, 2002}},
		{"root has one here", 0, []uint32{0}},
		{"a group that is no number is none", 1002, []uint32{2002}},
		{"an account of a directory has none", 1003, nil},
		{"an account without a name is none", 1004, nil},
		{"nobody has none", 4711, nil},
	} {
		if got := groupsOf(tt.uid, passwd, group); !slices.Equal(got, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
	if got := groupsOf(0, "", ""); got != nil {
		t.Errorf("without files: %v", got)
	}
}
