package battery

import (
	"fmt"
	"slices"
	"strings"

	"bearerd/test/emulator"
	"bearerd/test/harness"
)

// A Case is what somebody sends on one connection, and what becomes of it.
type Case struct {
	Class  string // what it is about, in a word or two
	Name   string // a sentence, and the only one of its name
	Raw    string // bytes, as they are sent
	Half   bool   // the sender closes its side after Raw
	Wants  []Want // one for each answer, in their order
	Closes bool   // no answer comes after those, whatever is sent
	Why    string // of an odd case: why it is let through
}

// A Want is the outcome of one request. Exactly one of Codes, Line, ByServer and
// Cut is set.
type Want struct {
	// Codes are what Bearerd-Error may be: one, or several where a request is
	// wrong in more than one way.
	Codes  []string
	Status int // of a refusal; 0: what each code has

	Line  string   // the request line that reaches the upstream
	Body  string   // with Line: its body
	Has   []string // with Line: header lines that arrive, in net/http's spelling
	Lacks []string // with Line: names of headers that do not

	ByServer bool // net/http refuses it, before bearerd has a request
	Cut      bool // no whole request reaches the upstream; any answer or none
}

// Hostile reports whether the case is wanted refused for what it is.
func (c Case) Hostile() bool {
	return slices.ContainsFunc(c.Wants, func(w Want) bool {
		return w.ByServer || w.Cut || slices.ContainsFunc(w.Codes, func(code string) bool {
			return code != "denied" && code != "no_upstream"
		})
	})
}

// Refused reports whether nothing of the case may reach the upstream.
func (c Case) Refused() bool {
	return !slices.ContainsFunc(c.Wants, func(w Want) bool { return w.Line != "" })
}

// Cases returns all of them, class by class.
func Cases() []Case {
	var all []Case
	for _, class := range []struct {
		name  string
		cases []Case
	}{
		{"plain", plainCases()}, {"method", methodCases()}, {"target", slices.Concat(targetCases(), routeCases())},
		{"path", strictCases()}, {"file", fileCases()}, {"query", queryCases()}, {"host", hostCases()}, {"browser", browserCases()},
		{"connection", slices.Concat(connectionCases(), upgradeCases())}, {"header", slices.Concat(nameCases(), credentialCases(), overrideCases(), limitCases())},
		{"framing", slices.Concat(lengthCases(), chunkCases(), trailerCases(), versionCases())}, {"stream", slices.Concat(pipelineCases(), halfCases(), foreignCases())},
	} {
		for _, c := range class.cases {
			c.Class = class.name
			all = append(all, c)
		}
	}
	return all
}

// Config is the configuration that Cases are for: upstreams plain, based and files
// at a URL, and rules that allow local callers
//
//	plain: GET /public/**, POST /inbox/**
//	based, below /v0.10: GET and POST /task/**
//	files, below /data, with path: files: GET, PUT and DELETE of everything
//
// The listener is localhost, on a free port. See Allowed.
func Config(g *harness.Globus, upstream string) string {
	return fmt.Sprintf(`proxy:
  listeners: [{address: "localhost:0"}]
  upstreams:
    plain: {url: "%[1]s", insecure_http: true, private: true, credential: transfer}
    based: {url: "%[1]s/v0.10", insecure_http: true, private: true, credential: transfer}
    files: {url: "%[1]s/data", insecure_http: true, private: true, credential: transfer, path: files}
  drain: {delay: 0s}
credentials:
  clients:
    globus: {preset: globus, token_url: "%[2]s/v2/oauth2/token", insecure_http: true, private: true, client_id: "%[3]s", client_secret: "file:secret"}
  tokens:
    transfer: {client: globus, resource_server: transfer.api.globus.org, scopes: ["%[4]s"]}
log: {format: json}
admin: {address: "127.0.0.1:0"}
policy:
  rules:
    - {name: public, callers: [local], upstreams: [plain], methods: [GET], paths: [/public/**]}
    - {name: inbox, callers: [local], upstreams: [plain], methods: [POST], paths: [/inbox/**]}
    - {name: tasks, callers: [local], upstreams: [based], methods: [GET, POST], paths: [/task/**]}
    - {name: files, callers: [local], upstreams: [files], methods: [GET, PUT, DELETE], paths: [/**]}
`, upstream, g.AuthURL, g.ClientID, emulator.TransferScope)
}

// Allowed reports whether the rules of Config let a method reach a path of the
// upstream, as the upstream has it.
func Allowed(method, path string) bool {
	below := func(prefix string) bool { return path == prefix || strings.HasPrefix(path, prefix+"/") }
	switch method {
	case "GET", "HEAD":
		return below("/public") || below("/v0.10/task") || below("/data")
	case "POST":
		return below("/inbox") || below("/v0.10/task")
	case "PUT", "DELETE":
		return below("/data")
	}
	return false
}

// request is one without a body, for localhost.
func request(method, target string, header ...string) string {
	lines := append([]string{method + " " + target + " HTTP/1.1", "Host: localhost"}, header...)
	return strings.Join(lines, "\r\n") + "\r\n\r\n"
}

func get(target string, header ...string) string { return request("GET", target, header...) }

// send is a request with a body and its length.
func send(method, target, body string, header ...string) string {
	return request(method, target, append([]string{fmt.Sprintf("Content-Length: %d", len(body))}, header...)...) + body
}

// chunked is a POST to the inbox whose body is given with its framing.
func chunked(framed string, header ...string) string {
	return request("POST", "/plain/inbox", append([]string{"Transfer-Encoding: chunked"}, header...)...) + framed
}

// a is the GET that passes; what a case adds to it is its point.
func a(header ...string) string { return get("/plain/public/a", header...) }

const (
	lineA     = "GET /public/a HTTP/1.1"
	lineInbox = "POST /inbox HTTP/1.1"
)

func refused(codes ...string) Want { return Want{Codes: codes} }

var ambiguous = refused("request_ambiguous") // which is what most are

func passes(line string, header ...string) Want { return Want{Line: line, Has: header} }

func (w Want) withStatus(status int) Want {
	w.Status = status
	return w
}

func (w Want) without(names ...string) Want {
	w.Lacks = names
	return w
}

func (w Want) withBody(body string) Want {
	w.Body = body
	return w
}

var (
	byServer = Want{ByServer: true}
	cut      = Want{Cut: true}
)

func one(name, raw string, want Want) Case { return Case{Name: name, Raw: raw, Wants: []Want{want}} }

// because makes a case an odd one.
func (c Case) because(why string) Case {
	c.Why = why
	return c
}

// last says that the connection ends after the case.
func (c Case) last() Case {
	c.Closes = true
	return c
}

// half says that the sender leaves it at Raw.
func (c Case) half() Case {
	c.Half = true
	return c
}

// each makes a case of each of inputs, named after it.
func each(inputs []string, want Want, name string, raw func(input string) string) []Case {
	var cases []Case
	for _, input := range inputs {
		cases = append(cases, one(fmt.Sprintf("%s %s", name, shown(input)), raw(input), want))
	}
	return cases
}

// same makes a case of a GET of each of inputs behind a path; it arrives as it was
// sent, but for the upstream's prefix.
func same(prefix, name, path string, inputs []string) []Case {
	var cases []Case
	for _, input := range inputs {
		target := path + input
		cases = append(cases, one(name+" "+shown(input), get(target), passes("GET "+strings.TrimPrefix(target, prefix)+" HTTP/1.1")))
	}
	return cases
}

// shown is an input in a name, where it cannot be long.
func shown(input string) string {
	if quoted := fmt.Sprintf("%q", input); len(quoted) <= 90 {
		return quoted
	}
	return fmt.Sprintf("%.60q of %d bytes", input, len(input))
}
