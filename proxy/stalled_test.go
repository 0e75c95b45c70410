package proxy_test

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"bearerd/proxy"
)

// Over real sockets: the caller is not left with what looks like an answer, nor the
// upstream with a request that nobody waits for.
func TestAnswers_ThatStallBreakOff(t *testing.T) {
	const some = "some bytes"
	ended := make(chan bool, 1)
	versions(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/length" {
			w.Header().Set("Content-Length", "100")
		}
		_, _ = io.WriteString(w, some)
		_ = http.NewResponseController(w).Flush()
		select {
		case <-r.Context().Done():
			ended <- true
		case <-time.After(20 * time.Second):
			ended <- false
		}
	}, func(t *testing.T, r *rig) {
		for _, path := range []string{"/length", "/none"} {
			resp, err := client.Get(r.url + "/up" + path)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			if string(body) != some || err == nil {
				t.Errorf("%s: the caller has %q and takes it for whole: %v", path, body, err == nil)
			}
			if !<-ended {
				t.Errorf("%s: the upstream's request outlived the answer", path)
			}
			x := r.seen()[0]
			if x.Status != 200 || x.Err == nil || !strings.Contains(x.Err.Error(), "nothing came of upstream up's answer for 100ms") || x.Code != "" {
				t.Errorf("%s: the log has %d %q (%v)", path, x.Status, x.Code, x.Err)
			}
		}
	}, func(up *proxy.UpstreamConfig) { up.Tuning.BodyIdle = 100 * time.Millisecond })
}
