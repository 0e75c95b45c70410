package emulator

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

// A file is what a collection over HTTPS keeps under a name.
type file struct {
	data    []byte
	changed time.Time
}

// files are those of all collections, by collection and decoded path.
type files struct {
	mu   sync.Mutex // guards kept
	kept map[string]file
}

// put keeps a file and reports whether there was none of that name.
func (f *files) put(collection, path string, data []byte) (created bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.kept == nil {
		f.kept = map[string]file{}
	}
	_, existed := f.kept[collection+path]
	f.kept[collection+path] = file{slices.Clone(data), time.Now().Truncate(time.Second)}
	return !existed
}

func (f *files) get(collection, path string) (file, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	found, ok := f.kept[collection+path]
	return found, ok
}

// refuseCollection is Connect Server's error shape.
func refuseCollection(_ *call, status int, detail string) answer {
	return jsonAnswer(status, object{
		"DATA_TYPE": "result#1.0.0", "code": strings.ToLower(strings.ReplaceAll(http.StatusText(status), " ", "_")),
		"http_response_code": status, "message": detail, "detail": nil,
	})
}

// serveFile is a collection's HTTPS server.
func (e *Emulator) serveFile(c *call, id string) answer {
	scope := urlScope + id + "/https"
	tok, ok := e.tokens.lookup(c.bearer())
	if !ok || tok.resourceServer != id || !slices.Contains(tok.scopes, scope) {
		return login(c, id, scope)
	}
	path := c.URL.Path
	if !strings.HasPrefix(path, "/") || strings.HasSuffix(path, "/") {
		return refuseCollection(c, http.StatusNotFound, "Only files are served")
	}
	switch c.Method {
	case http.MethodPut:
		status := http.StatusOK
		if e.files.put(id, path, c.body) {
			status = http.StatusCreated
		}
		return answer{status, http.Header{}, nil}
	case http.MethodGet, http.MethodHead:
		found, ok := e.files.get(id, path)
		if !ok {
			return refuseCollection(c, http.StatusNotFound, "No such file")
		}
		var kept keeper
		kept.Header().Set("Content-Type", "application/octet-stream")
		kept.Header().Set("Etag", fmt.Sprintf(`"%x"`, sha256.Sum256(found.data)))
		http.ServeContent(&kept, c.Request, "", found.changed, bytes.NewReader(found.data))
		return kept.answer
	}
	ans := refuseCollection(c, http.StatusMethodNotAllowed, "Files are read and written")
	ans.header.Set("Allow", "GET, HEAD, PUT")
	return ans
}

// login sends a browser to Auth's login page, which is what a collection does
// with every request that carries no good token.
func login(c *call, id, scope string) answer {
	query := url.Values{
		"client_id": {id}, "response_type": {"code"}, "scope": {scope}, "state": {randomText(16)},
		"redirect_uri": {"https://" + c.Host + "/oauth2/callback"},
	}
	return answer{http.StatusFound, http.Header{
		"Location": {issuer + "/v2/oauth2/authorize?" + query.Encode()}, "Cache-Control": {"no-store"},
	}, nil}
}

// keeper is a ResponseWriter that keeps the answer.
type keeper struct{ answer }

func (k *keeper) Header() http.Header {
	if k.header == nil {
		k.header = http.Header{}
	}
	return k.header
}

func (k *keeper) WriteHeader(status int) { k.status = status }

func (k *keeper) Write(p []byte) (int, error) {
	k.body = append(k.body, p...)
	return len(p), nil
}
