package emulator

import (
	"crypto/sha256"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// A collection is one storage place, an endpoint in Transfer's older word.
type collection struct {
	id, name, entityType string
}

func (c collection) mapped() bool { return c.entityType == "GCSv5_mapped_collection" }

// makeCollections returns n collections, the same ones each time. The last ones
// are mapped.
func makeCollections(n, mapped int) []collection {
	names := []string{"Beamline scratch", "Mikroskopie Süd", "Campaign archive"}
	list := make([]collection, n)
	for i := range list {
		sum := sha256.Sum256(fmt.Appendf(nil, "bearerd collection %d of %d", i+1, n))
		list[i] = collection{
			id:         formatUUID([16]byte(sum[:16])),
			name:       fmt.Sprintf("%s %d", names[i%len(names)], i+1),
			entityType: "GCSv5_guest_collection",
		}
	}
	for i := n - mapped; i < n; i++ {
		list[i].entityType = "GCSv5_mapped_collection"
	}
	return list
}

func (e *Emulator) collection(id string) (collection, bool) {
	i := slices.IndexFunc(e.collections, func(col collection) bool { return col.id == id })
	if i < 0 {
		return collection{}, false
	}
	return e.collections[i], true
}

func (e *Emulator) document(col collection) object {
	return object{
		"DATA_TYPE": "endpoint", "id": col.id, "display_name": col.name, "entity_type": col.entityType,
		"canonical_name": e.username() + "#" + col.id, "owner_id": e.clientID, "owner_string": e.username(),
		"description": "Made up by bearerd's emulator", "high_assurance": false, "public": false, "is_globus_connect": false,
		"https_server": "https://g-" + col.id[:8] + ".data.globus.org", "default_directory": "/~/",
		"my_effective_roles": []string{"administrator"}, "acl_available": true, "gcs_version": "5.4.80",
	}
}

func endpointNotFound(c *call, id string) answer {
	return transferError(c, http.StatusNotFound, "EndpointNotFound", fmt.Sprintf("No such endpoint %q", id))
}

// searchEndpoints pages through collections by filter_scope, filter_fulltext
// (in the name) or both; it wants one of them.
func (e *Emulator) searchEndpoints(c *call) answer {
	query := c.URL.Query()
	within, text := query.Get("filter_scope"), strings.ToLower(query.Get("filter_fulltext"))
	if within == "" && text == "" {
		return refuseTransfer(c, http.StatusBadRequest, "filter_scope or filter_fulltext must be given")
	}
	if !slices.Contains([]string{"", "all", "my-endpoints", "administered-by-me"}, within) {
		return refuseTransfer(c, http.StatusBadRequest, fmt.Sprintf("No such filter_scope %q", within))
	}
	offset, limit, err := c.page(100, 100)
	if err != nil {
		return refuseTransfer(c, http.StatusBadRequest, err.Error())
	}
	var found []object
	for _, col := range e.collections {
		if strings.Contains(strings.ToLower(col.name), text) {
			found = append(found, e.document(col))
		}
	}
	return transferAnswer(http.StatusOK, object{
		"DATA_TYPE": "endpoint_list", "offset": offset, "limit": limit,
		"has_next_page": len(found)-offset > limit, "DATA": window(found, offset, limit),
	})
}

func (e *Emulator) showEndpoint(c *call) answer {
	col, ok := e.collection(c.vars[0])
	if !ok {
		return endpointNotFound(c, c.vars[0])
	}
	return transferAnswer(http.StatusOK, e.document(col))
}

// An entry is a file, or a directory if its name ends in a slash.
type entry struct {
	name string
	size int64 // bytes
}

// directory returns what is in a directory of any collection; all hold the same.
// Path starts and ends with a slash.
func directory(path string) ([]entry, bool) {
	switch path {
	case "/":
		return []entry{{"home/", 4096}, {"README.txt", 1203}}, true
	case "/home/":
		return []entry{{"run 1/", 4096}, {"größe.csv", 88}, {"100%+1.dat", 1 << 20}}, true
	case "/home/run 1/":
		return []entry{{"frame-0001.h5", 73 << 20}, {"frame-0002.h5", 73 << 20}, {"a:b?.log", 0}}, true
	}
	return nil, false
}

func (e *Emulator) listDirectory(c *call) answer {
	id := c.vars[0]
	if _, ok := e.collection(id); !ok {
		return endpointNotFound(c, id)
	}
	if refusal := e.consentRequired(c, id); refusal != nil {
		return *refusal
	}
	path := c.URL.Query().Get("path")
	if path == "" {
		path = "/~/"
	}
	absolute := strings.ReplaceAll("/"+strings.Trim(path, "/")+"/", "//", "/")
	if rest, ok := strings.CutPrefix(absolute, "/~/"); ok {
		absolute = "/home/" + rest
	}
	entries, ok := directory(absolute)
	if !ok {
		return refuseTransfer(c, http.StatusNotFound, fmt.Sprintf("No such directory %q", path))
	}
	files := make([]object, len(entries))
	for i, f := range entries {
		name, isDir := strings.CutSuffix(f.name, "/")
		kind, permissions := "file", "0644"
		if isDir {
			kind, permissions = "dir", "0755"
		}
		files[i] = object{
			"DATA_TYPE": "file", "name": name, "type": kind, "size": f.size, "permissions": permissions,
			"last_modified": "2026-03-14 09:26:53+00:00", "user": "demo", "group": "demo", "link_target": nil,
		}
	}
	return transferAnswer(http.StatusOK, object{
		"DATA_TYPE": "file_list", "endpoint": id, "path": path, "absolute_path": absolute,
		"rename_supported": true, "symlink_supported": false, "DATA": files,
	})
}
