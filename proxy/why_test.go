package proxy

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
)

// What the connection is closed for is told, and not that writing ended with that.
func TestHTTP1_TellsWhyTheAnswerFailedWhileTheRequestIsWritten(t *testing.T) {
	address, _ := serving(t, func(c net.Conn) {
		if _, err := readHead(bufio.NewReaderSize(c, 16)); err == nil {
			_, _ = io.WriteString(c, "HTTP/1.1 what\r\n\r\n")
			_, _ = io.Copy(io.Discard, c)
		}
	})
	w := made(t, TransportConfig{Private: true})
	for i := range 200 {
		endless, more := io.Pipe()
		go func() { // ends with the reading
			for {
				if _, err := io.WriteString(more, strings.Repeat("x", 32<<10)); err != nil {
					return
				}
			}
		}()
		req, err := http.NewRequestWithContext(t.Context(), "POST", "http://"+address+"/", endless)
		if err != nil {
			t.Fatal(err)
		}
		if i%2 == 0 {
			req.Header.Set("Expect", "100-continue")
		}
		if _, err := w.RoundTrip(req); err == nil || faultOf(err) != faultInvalid {
			t.Fatalf("%v, want that the answer is none", err)
		}
		_ = endless.Close()
	}
}
