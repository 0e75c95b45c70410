package emulator

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

const (
	tokenPath          = "/v2/oauth2/token"
	maxBody            = 1 << 20 // bytes of a request body that are read and recorded
	statusCallerIsGone = 499     // nginx's word for it
)

// A call is one request as handlers see it: its body read, its path taken apart.
type call struct {
	*http.Request
	body   []byte
	vars   []string // what the route's {} matched, decoded
	issued []string // as in Record
	err    error    // of reading the body
}

// An answer is a whole response, decided before any of it is written. Status 0
// is none at all: the connection is cut.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// serve is the life of one request: read, answer, record, write.
func (e *Emulator) serve(a *api, w http.ResponseWriter, r *http.Request) {
	arrived := time.Now()
	c := &call{Request: r}
	if r.Body != nil { // nil when a client's request is handed over without a wire
		c.body, c.err = io.ReadAll(io.LimitReader(r.Body, maxBody+1))
	}
	ans := e.answer(a, c)
	e.journal.add(makeRecord(arrived, a.name, c, ans.status), r.URL.EscapedPath())
	ans.write(w, r)
}

// answer applies the delay and the failures that were arranged, then asks a.
func (e *Emulator) answer(a *api, c *call) answer {
	faults := &e.requestFaults
	if a == e.auth && c.URL.Path == tokenPath {
		if !wait(c.Context(), time.Duration(e.delay.Load())) {
			return answer{status: statusCallerIsGone}
		}
		faults = &e.tokenFaults
	}
	if f, ok := faults.next(); ok {
		return f.answer()
	}
	switch {
	case c.err != nil:
		return a.refuse(c, http.StatusBadRequest, "The body ended early")
	case len(c.body) > maxBody:
		return a.refuse(c, http.StatusRequestEntityTooLarge, fmt.Sprintf("The body is over %d bytes", maxBody))
	}
	return a.route(c)
}

// wait waits for d and reports whether ctx lasted that long.
func wait(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// jsonAnswer answers with doc, which must be one that encoding/json accepts.
func jsonAnswer(status int, doc any) answer {
	body, err := json.Marshal(doc)
	if err != nil {
		panic(fmt.Sprintf("emulator: encoding an answer: %v", err))
	}
	return answer{status, http.Header{"Content-Type": {"application/json"}}, body}
}

// write sends the answer. It panics with http.ErrAbortHandler if there is none.
func (ans answer) write(w http.ResponseWriter, r *http.Request) {
	if ans.status == 0 {
		panic(http.ErrAbortHandler)
	}
	h := w.Header()
	if len(ans.body) > 0 {
		h.Set("Content-Length", strconv.Itoa(len(ans.body)))
	}
	maps.Copy(h, ans.header) // also over Content-Length, so that a Failure can promise more than it sends
	w.WriteHeader(ans.status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(ans.body) // a caller that has gone is no concern of ours
	}
}

// form returns the fields of a form body, each of which may be given once
// (RFC 6749 §3.2).
func (c *call) form() (url.Values, error) {
	if kind, _, _ := mime.ParseMediaType(c.Header.Get("Content-Type")); kind != "application/x-www-form-urlencoded" {
		return nil, fmt.Errorf("content type must be application/x-www-form-urlencoded")
	}
	form, err := url.ParseQuery(string(c.body))
	if err != nil {
		return nil, fmt.Errorf("body is no form")
	}
	for name, values := range form {
		if len(values) > 1 {
			return nil, fmt.Errorf("%q is given %d times", name, len(values))
		}
	}
	return form, nil
}

// page returns the query's offset and its limit, which is size when absent and
// never above most.
func (c *call) page(size, most int) (offset, limit int, err error) {
	limit = size
	for name, n := range map[string]*int{"offset": &offset, "limit": &limit} {
		s := c.URL.Query().Get(name)
		if s == "" {
			continue
		}
		if *n, err = strconv.Atoi(s); err != nil || *n < 0 {
			return 0, 0, fmt.Errorf("%s must be a whole number, not %q", name, s)
		}
	}
	return offset, min(limit, most), nil
}

// window returns the part of all that a page shows; it is never nil.
func window[T any](all []T, offset, limit int) []T {
	start := min(offset, len(all))
	return append([]T{}, all[start:min(start+limit, len(all))]...)
}
