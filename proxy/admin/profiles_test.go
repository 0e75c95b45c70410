package admin

import (
	"net/http"
	"runtime"
	"testing"
)

// Noting what is allocated costs each request some, for a profile that nobody can get.
func TestProfiles_NothingIsNotedUnlessTheyAreWanted(t *testing.T) {
	usual := runtime.MemProfileRate
	for _, tt := range []struct {
		wanted bool
		rate   int
	}{{true, usual}, {false, 0}} {
		New(Deps{Metrics: http.NotFoundHandler(), Profiles: tt.wanted})
		if got := runtime.MemProfileRate; got != tt.rate {
			t.Errorf("profiles wanted %v: a sample each %d bytes, want %d", tt.wanted, got, tt.rate)
		}
	}
}
