package battery

import (
	"fmt"
	"slices"
	"strings"
)

// ThroughConfig is Config with forward: true.
func ThroughConfig(config string) string {
	return strings.Replace(config, `{address: "localhost:0"}`, `{address: "localhost:0", forward: true}`, 1)
}

// ThroughCases are for ThroughConfig, at an upstream's HOST:PORT: what somebody sends
// who has bearerd for a proxy. They are all of Cases that go below a prefix, with the
// URL that it stands for in their first line and the same outcome, and what is about
// URLs alone.
func ThroughCases(upstream string) []Case {
	var all []Case
	for _, c := range Cases() {
		if c.Class == "host" || strings.Contains(c.Raw, " http://") {
			continue // which are other cases here, and are below
		}
		if raw, ok := through(upstream, c.Raw); ok {
			c.Name, c.Raw = "through a proxy, "+c.Name, raw
			all = append(all, c)
		}
	}
	for _, c := range slices.Concat(siteCases(upstream), elsewhereCases(upstream)) {
		c.Class = "through a proxy"
		all = append(all, c)
	}
	return all
}

// through puts the URL of what its first request asks for into a case's first line.
func through(upstream, raw string) (string, bool) {
	method, rest, _ := strings.Cut(raw, " ")
	for prefix, base := range map[string]string{"/plain/": "/", "/based/": "/v0.10/", "/files/": "/data/"} {
		if below, ok := strings.CutPrefix(rest, prefix); ok {
			return method + " http://" + upstream + base + below, true
		}
	}
	return "", false
}

// siteCases are of URLs of the upstream's, as they may be written and as they may not.
func siteCases(upstream string) []Case {
	url := "http://" + upstream
	host, port, _ := strings.Cut(upstream, ":")
	withHost := func(host string) string {
		return strings.Replace(get(url+"/public/a"), "Host: localhost", "Host: "+host, 1)
	}
	cases := each([]string{upstream, "localhost", "evil.example", "169.254.169.254", "LOCALHOST:1", "evil.example:" + port, "x,y", "", "localhost."},
		passes(lineA, "Host: "+upstream), "a URL, and a Host that is not looked at:", withHost)
	cases = append(cases, each([]string{"a/../x", "user@" + upstream, "a b", "x\\y"}, byServer, "a URL, and a Host that can be none:", withHost)...)
	cases = append(cases, each([]string{"HTTP://" + upstream + "/public/a", "http://" + upstream + "/public/a"}, passes(lineA), "a URL of the upstream's:", func(u string) string { return get(u) })...)
	cases = append(cases, each([]string{
		"http://user@" + upstream, "http://user:secret@" + upstream, "http://@" + upstream, "http://:@" + upstream, "http://evil.example@" + upstream,
		"http://" + upstream + "@evil.example", "http://" + host + ",evil.example:" + port, "ftp://" + upstream,
		"ws://" + upstream, "x:http://" + upstream, "http+unix://" + upstream, "http://", "https://", "http://" + upstream + "@",
	}, ambiguous, "a URL that is read in two ways, of", func(site string) string { return get(site + "/public/a") })...)
	cases = append(cases, each([]string{
		"http://" + upstream + "#", "http://" + upstream + "#@evil.example", "http://" + upstream + `\@evil.example`, "http://%" + fmt.Sprintf("%x", host[:1]) + host[1:] + ":" + port,
		"http://[" + upstream, "http://[" + host + "]x:" + port, "http://" + upstream + ":80", "http://" + host + ":x", "http://" + host + ":" + port + "%20", "http://" + upstream + ",evil.example",
	}, byServer, "a URL that is none, of", func(site string) string { return get(site + "/public/a") })...)
	return append(cases,
		one("a URL without a path", get(url), refused("denied")),
		one("a URL without a path, with a query", get(url+"?x"), refused("denied")),
		one("a URL with a fragment", get(url+"/public/a#x"), ambiguous),
		one("a URL with another in its path", get(url+"/public/http://evil.example/"), ambiguous),
		one("a URL with another in its query", get(url+"/public/a?u=http://evil.example/"), passes("GET /public/a?u=http://evil.example/ HTTP/1.1")),
		one("a URL of an upstream's with a base path", get(url+"/v0.10/task/1"), passes("GET /v0.10/task/1 HTTP/1.1")),
		one("a URL with a prefix of bearerd's own", get(url+"/plain/public/a"), refused("denied")),
		one("a URL that no rule allows", get(url+"/admin"), refused("denied")),
		one("a URL that no rule allows with this method", request("DELETE", url+"/public/a"), refused("denied")),
		one("a URL beside a base path", get(url+"/v0.100/task/1"), refused("denied")),
		one("OPTIONS of a URL without a path", request("OPTIONS", url), ambiguous),
		one("HTTP/1.0 and a URL without a Host", "GET "+url+"/public/a HTTP/1.0\r\n\r\n", passes(lineA)),
		one("HTTP/1.1 and a URL without a Host", "GET "+url+"/public/a HTTP/1.1\r\n\r\n", byServer),
		one("a URL and two Hosts", get(url+"/public/a", "Host: "+upstream), byServer),
		one("a URL, and what a client tells its proxy", get(url+"/public/a", "Proxy-Connection: keep-alive", "Proxy-Authorization: Basic bWU6bWU="),
			passes(lineA).without("Proxy-Connection", "Proxy-Authorization")),
		one("a URL, and a Connection that keeps the proxy's part", get(url+"/public/a", "Connection: Proxy-Authorization"), ambiguous),
		one("a URL, sent by a page", get(url+"/public/a", "Origin: "+url), refused("browser_refused")),
		one("TRACE of a URL", request("TRACE", url+"/public/a"), refused("method_refused")),
		one("a POST to a URL", send("POST", url+"/inbox", "abc"), passes(lineInbox).withBody("abc")),
		one("a path, where URLs pass as well", a(), passes(lineA)),
	)
}

// elsewhereCases are of what is no upstream's, and of tunnels.
func elsewhereCases(upstream string) []Case {
	host, port, _ := strings.Cut(upstream, ":")
	cases := each([]string{
		"http://evil.example", "http://evil.example:" + port, "http://" + host, "http://" + host + ":80", "http://" + host + ":443", "http://" + host + ":", "http://" + host + ":0" + port,
		"http://" + host + ":1", "https://" + upstream, "https://" + host, "http://localhost:" + port, "http://localhost", "http://0.0.0.0:" + port, "http://127.1:" + port,
		"http://2130706433:" + port, "http://[::ffff:127.0.0.1]:" + port, "http://[::1]:" + port, "http://" + host + ".:" + port, "http://" + host + ".nip.io:" + port, "http://plain", "http://plain:" + port,
		"http://169.254.169.254", "http://169.254.169.254:" + port, "http://[fd00:ec2::254]", "http://metadata.google.internal", "http://0x7f000001:" + port,
	}, refused("host_refused"), "a URL of another site:", func(site string) string { return get(site + "/public/a") })
	cases = append(cases, each([]string{"http:169.254.169.254/", "//" + upstream + "/public/a", "*", "localhost:" + port},
		ambiguous, "no URL:", func(target string) string { return get(target) })...)
	cases = append(cases, each([]string{"169.254.169.254/latest/meta-data", upstream}, byServer, "no URL:", func(target string) string { return get(target) })...)
	return append(cases,
		one("a POST of a token to another site", send("POST", "http://evil.example/inbox", "abc", "Authorization: Bearer x"), refused("host_refused")),
		one("a foreign URL, and the upstream's Host", strings.Replace(get("http://evil.example/public/a"), "Host: localhost", "Host: "+upstream, 1), refused("host_refused")),
		one("CONNECT to the upstream", request("CONNECT", upstream), refused("method_refused")),
		one("CONNECT to the upstream, and a request in the tunnel", request("CONNECT", upstream)+get("/public/a"), refused("method_refused")),
		one("CONNECT to the upstream's URL", request("CONNECT", "http://"+upstream+"/public/a"), refused("method_refused")),
		one("CONNECT to a metadata service", request("CONNECT", "169.254.169.254:80"), refused("method_refused")),
	)
}
