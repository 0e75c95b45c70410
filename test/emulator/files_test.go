package emulator_test

import (
	"net/url"
	"strings"
	"testing"

	"bearerd/test/emulator"
)

func TestCollection_KeepsFiles(t *testing.T) {
	e := emulator.New(emulator.Config{})
	id := e.MappedCollection()
	h := e.Collection(id)
	tok := token(t, e, "https://auth.globus.org/scopes/"+id+"/https")
	const path = "/run%201/gr%C3%B6%C3%9Fe%2525+.csv"
	put := func() int { return send(h, request("PUT", path, tok, "0123456789")).status }
	if first, second := put(), put(); first != 201 || second != 200 {
		t.Errorf("PUT: got %d, then %d; want 201, 200", first, second)
	}
	if rep := send(h, request("GET", path, tok, "")); rep.status != 200 || rep.body != "0123456789" || rep.header.Get("Accept-Ranges") != "bytes" {
		t.Errorf("GET: got %d %q", rep.status, rep.body)
	}
	part := request("GET", path, tok, "")
	part.Header.Set("Range", "bytes=2-4")
	if rep := send(h, part); rep.status != 206 || rep.body != "234" || rep.header.Get("Content-Range") != "bytes 2-4/10" {
		t.Errorf("Range: got %d %q", rep.status, rep.body)
	}
	if rep := send(h, request("HEAD", path, tok, "")); rep.status != 200 || rep.body != "" || rep.header.Get("Content-Length") != "10" {
		t.Errorf("HEAD: got %d, Content-Length %s", rep.status, rep.header.Get("Content-Length"))
	}
	for target, want := range map[string]int{"GET /nothing": 404, "GET /": 404, "DELETE " + path: 405} {
		method, target, _ := strings.Cut(target, " ")
		if rep := send(h, request(method, target, tok, "")); rep.status != want || rep.text("DATA_TYPE") != "result#1.0.0" {
			t.Errorf("%s: got %d, want %d", target, rep.status, want)
		}
	}
}

func TestCollection_SendsWhoHasNoGoodTokenToLogIn(t *testing.T) {
	e := emulator.New(emulator.Config{})
	id, other := e.EndpointIDs()[0], e.EndpointIDs()[1]
	scope := "https://auth.globus.org/scopes/" + id + "/https"
	revoked := token(t, e, scope)
	e.Revoke(id)
	for name, tok := range map[string]string{
		"none": "", "made up": "nonsense", "revoked": revoked, "Transfer's": token(t, e, emulator.TransferScope),
		"another collection's": token(t, e, "https://auth.globus.org/scopes/"+other+"/https"),
	} {
		rep := send(e.Collection(id), request("GET", "/a", tok, ""))
		at, err := url.Parse(rep.header.Get("Location"))
		if rep.status != 302 || err != nil || at.Host != "auth.globus.org" || at.Path != "/v2/oauth2/authorize" || at.Query().Get("client_id") != id {
			t.Errorf("%s: got %d to %s", name, rep.status, at)
		}
	}
}
