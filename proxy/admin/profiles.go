package admin

import (
	"fmt"
	"net/http"
	"net/http/pprof" // it also registers with http.DefaultServeMux, which nothing here serves
	"strconv"
	"time"
)

// longestProfile is in seconds.
const longestProfile = 300

// profile answers with what bearerd does with CPU and memory, for go tool pprof and go
// tool trace. It has names of functions and counts, and nothing of what they work on. The
// arguments of the program's start are left out.
func profile(w http.ResponseWriter, r *http.Request) {
	if seconds, err := strconv.ParseFloat(r.URL.Query().Get("seconds"), 64); err == nil && !(seconds <= longestProfile) { // written so, NaN is refused, too
		text(w, http.StatusBadRequest, fmt.Sprintf("bearerd: a profile takes %d s at most; write ?seconds=30\n", longestProfile))
		return
	}
	// Else the profile would end with the time in which the request had to be read.
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
	switch name := r.PathValue("name"); name {
	case "profile":
		pprof.Profile(w, r)
	case "trace":
		pprof.Trace(w, r)
	default:
		pprof.Handler(name).ServeHTTP(w, r)
	}
}
