package proxy_test

import (
	"net/http"
	"sync"
	"testing"

	"bearerd/proxy"
)

func TestPlaces_AnUpstreamHasSoManyRequestsAndTheOthersWait(t *testing.T) {
	entered, leave := make(chan bool, 300), make(chan bool)
	url := upstream(t, func(http.ResponseWriter, *http.Request) {
		entered <- true
		<-leave
	})
	r := newRig(t, limited(to(t, url), proxy.LimitsConfig{Concurrency: 2}))
	var asking sync.WaitGroup
	answers := make(chan answer, 300)
	ask := func() { asking.Go(func() { answers <- r.do("GET", "/up/a", "") }) }
	for range 2 {
		ask()
		<-entered
	}
	const waiting = 256
	for range waiting + 10 {
		ask()
	}
	for range 10 { // the others wait
		if got := <-answers; got.status != 503 || got.code() != "overloaded" || got.header.Get("Retry-After") != "1" {
			t.Fatalf("answered %d %s, Retry-After %q", got.status, got.code(), got.header.Get("Retry-After"))
		}
	}
	close(leave)
	for range waiting + 2 {
		if got := <-answers; got.status != 200 {
			t.Errorf("answered %d %s", got.status, got.code())
		}
	}
	asking.Wait()
	// Each place was given back, also by those that got none.
	if got := r.do("GET", "/up/a", ""); got.status != 200 {
		t.Errorf("answered %d %s afterwards", got.status, got.code())
	}
}
