//go:build linux

package main

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"bearerd/test/emulator"
	"bearerd/test/harness"
)

const (
	oauth2Name = "ReverseProxy with x/oauth2"
	// oauth2Secret is one that a form does not change: that of the emulator it would.
	oauth2Secret = "placeholder"
)

// asker is a contender that asks for tokens, of an endpoint that is its own.
type asker struct {
	*contender
	endpoint *endpoint
}

func (a *asker) stop() {
	if a.contender != nil {
		a.contender.stop()
	}
	a.endpoint.close()
}

// startAskers starts bearerd and who has its tokens from x/oauth2, each with an endpoint
// that takes that long, does not answer before it is opened, and fails if it is to. What
// it returns is to be stopped, also with an error.
func (b *bench) startAskers(ctx context.Context, upstream string, delay time.Duration, arrange func(*emulator.Emulator)) (all []*asker, err error) {
	ours := newEndpoint(emulator.DemoClientSecret, delay, arrange)
	all = append(all, &asker{endpoint: ours})
	p, err := b.startBearerd(ctx, layout{upstream: upstream, protocol: plain, auth: ours.server.URL})
	if err != nil {
		return all, err
	}
	all[0].contender = &contender{p, bearerdName, bearerdPrefix}
	theirs := newEndpoint(oauth2Secret, delay, arrange)
	all = append(all, &asker{endpoint: theirs})
	p, err = startChild(ctx, "oauth2", "http://"+upstream, theirs.server.URL+tokenPath)
	if err != nil {
		return all, err
	}
	all[1].contender = &contender{p, oauth2Name, ""}
	return all, nil
}

func stopAskers(all []*asker) {
	for _, a := range all {
		a.stop()
	}
}

const tokenPath = "/v2/oauth2/token"

// endpoint is a token endpoint that counts who asks, and lets all wait until it is open.
type endpoint struct {
	server *httptest.Server
	asked  atomic.Int64
	opened chan struct{}
	open   func() // may be called again
}

func newEndpoint(secret string, delay time.Duration, arrange func(*emulator.Emulator)) *endpoint {
	globus := emulator.New(emulator.Config{ClientID: emulator.DemoClientID, ClientSecret: secret})
	globus.SetTokenDelay(delay)
	arrange(globus)
	e := &endpoint{opened: make(chan struct{})}
	e.open = sync.OnceFunc(func() { close(e.opened) })
	auth := globus.Auth()
	e.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		e.asked.Add(1)
		<-e.opened // close opens it at the latest
		auth.ServeHTTP(w, r)
	}))
	return e
}

func (e *endpoint) close() {
	e.open()
	e.server.Close()
}

// withTokens is the tuned ReverseProxy with x/oauth2, as its documentation has it.
func withTokens(base *url.URL, tokenURL string) http.Handler {
	config := clientcredentials.Config{
		ClientID: emulator.DemoClientID, ClientSecret: oauth2Secret, TokenURL: tokenURL,
		Scopes: []string{emulator.TransferScope}, AuthStyle: oauth2.AuthStyleInHeader,
	}
	handler, _ := harness.Bare(base, nil)
	p := handler.(*httputil.ReverseProxy)
	p.Transport = &oauth2.Transport{Source: config.TokenSource(context.Background()), Base: p.Transport}
	p.ErrorHandler = func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) }
	return p
}
