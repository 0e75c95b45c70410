package proxy

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// outcomes sends requests one after the other, with a pause between them, and tells what
// came of them.
func outcomes(t *testing.T, w http.RoundTripper, method, target string, upload bool, pause time.Duration) (all []string) {
	for range 3 {
		var body io.Reader
		if method == "POST" {
			body = strings.NewReader("a body")
			if upload {
				body = io.MultiReader(body)
			}
		}
		resp, err := w.RoundTrip(asking(t, method, target, body))
		if err != nil {
			all = append(all, fmt.Sprintf("fault %d", faultOf(err)))
			continue
		}
		said, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		fields := ""
		for _, name := range slices.Sorted(maps.Keys(resp.Header)) {
			fields += fmt.Sprintf(" %s%q", name, resp.Header[name])
		}
		all = append(all, fmt.Sprintf("%s %s %q %v length %d, close %v, te %q, trailer %v,%s", resp.Proto, resp.Status, said, err, resp.ContentLength, resp.Close, resp.TransferEncoding, resp.Trailer, fields))
		time.Sleep(pause)
	}
	return all
}

func TestHTTP1_DoesAsNetHTTP(t *testing.T) {
	for _, raw := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nhi",
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nhi",
		"HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nhi",
		"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nhi",
		"HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nhi",
		"HTTP/1.1 200 OK\r\nContent-Length: \r\n\r\nhi",
		"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\nhi",
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi",
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: Close, x\r\n\r\nhi",
		"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi",
		"HTTP/1.0 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nhi",
		"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n$",
		"HTTP/1.1 200 OK\r\n\r\nhi$",
		"HTTP/1.1 200 OK\r\nConnection: keep-alive\r\n\r\nhi$",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n2;a=b\r\nhi\r\n0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 7\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-End\r\n\r\n2\r\nhi\r\n0\r\nX-End: 1\r\nX-Other: 2\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\nhi$",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: \x0bchunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding : chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nhi\r\n0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi$",
		"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhi$",
		"HTTP/1.1 204 No Content\r\n\r\n",
		"HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\nhi",
		"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
		"HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\n",
		"HTTP/1.1 304 Not Modified\r\nEtag: a\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
		"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
		"HTTP/1.1 103 Early\r\nLink: a\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
		"HTTP/1.1 100 Continue\r\nContent-Length: 5\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
		"HTTP/1.1 101 Switching Protocols\r\n\r\n",
		"HTTP/1.1 099 Odd\r\nContent-Length: 2\r\n\r\nhi",
		"HTTP/1.1 000 Odd\r\nContent-Length: 2\r\n\r\nhi",
		"HTTP/1.1 600 Odd\r\nContent-Length: 2\r\n\r\nhi",
		"HTTP/1.1 20 Odd\r\nContent-Length: 2\r\n\r\nhi",
		"HTTP/1.1 -20 Odd\r\nContent-Length: 2\r\n\r\nhi",
		"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nhi",
		"HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nhi",
		"HTTP/3.0 200 OK\r\nContent-Length: 2\r\n\r\nhi",
		"HTTP/0.9 200 OK\r\nContent-Length: 2\r\n\r\nhi$",
		"ICY 200 OK\r\n\r\n",
		"\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
		"HTTP/1.1 200 OK\nContent-Length: 2\n\nhi",
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n folded\r\n\r\nhi",
		"HTTP/1.1 200 OK\r\n folded: 1\r\nContent-Length: 2\r\n\r\nhi",
		"HTTP/1.1 200 OK\r\nNo colon\r\nContent-Length: 2\r\n\r\nhi",
		"HTTP/1.1 200 OK\r\nX: a\x00b\r\nContent-Length: 2\r\n\r\nhi",
		"HTTP/1.1 200 OK\r\nX Y: a\r\nContent-Length: 2\r\n\r\nhi",
		"HTTP/1.1 200 OK\r\nPragma: no-cache\r\nContent-Length: 2\r\n\r\nhi",
		"HTTP/1.1 200 OK\r\nX: " + strings.Repeat("a", 250<<10) + "\r\nContent-Length: 2\r\n\r\nhi",
		"HTTP/1.1 200 OK\r\nX: " + strings.Repeat("a", 300<<10) + "\r\nContent-Length: 2\r\n\r\nhi",
		"$",
		"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n$",
		"HTTP/1.1 200 OK\r\nKeep-Alive: timeout=1\r\nContent-Length: 2\r\n\r\nhi",
	} {
		for _, method := range []string{"GET", "HEAD", "POST", "upload"} {
			short := raw[:min(len(raw), 90)]
			t.Run(fmt.Sprintf("%s %q", method, short), func(t *testing.T) {
				t.Parallel()
				address, accepted := serving(t, func(c net.Conn) {
					in := bufio.NewReader(c)
					for {
						_ = c.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
						req, err := http.ReadRequest(in)
						if err != nil {
							return
						}
						if _, err := io.Copy(io.Discard, req.Body); err != nil {
							return
						}
						said, ends := strings.CutSuffix(raw, "$")
						if _, err := io.WriteString(c, said); err != nil || ends {
							return
						}
					}
				})
				cfg := TransportConfig{Private: true}
				upload := method == "upload"
				if upload {
					method = "POST"
				}
				var differ []string
				for pause := 2 * time.Millisecond; pause < 300*time.Millisecond; pause *= 4 { // net/http hears of what comes behind an answer in its own time
					accepted.Store(0)
					ours := append(outcomes(t, made(t, cfg), method, "http://"+address, upload, pause), fmt.Sprint(accepted.Swap(0), " connections"))
					usual := NewTransport(cfg)
					theirs := append(outcomes(t, usual, method, "http://"+address, upload, pause), fmt.Sprint(accepted.Load(), " connections"))
					usual.CloseIdleConnections()
					if slices.Equal(ours, theirs) {
						return
					}
					differ = []string{fmt.Sprintf("ours   %.300q", ours), fmt.Sprintf("theirs %.300q", theirs)}
				}
				t.Error(strings.Join(differ, "\n"))
			})
		}
	}
}
