package metrics

import (
	"maps"
	"sync"
	"sync/atomic"
)

// found are values by key that cost something to find. Whoever looks for one that was
// found before waits for nobody. To add one copies all, so there must be few: keys come
// from the configuration and from fixed sets. The zero value is empty, and ready.
type found[K comparable, V any] struct {
	all atomic.Pointer[map[K]V]
	mu  sync.Mutex // held by who adds
}

func (f *found[K, V]) get(key K) (V, bool) {
	if all := f.all.Load(); all != nil {
		value, ok := (*all)[key]
		return value, ok
	}
	var none V
	return none, false
}

// add returns value, or what somebody else has added meanwhile.
func (f *found[K, V]) add(key K, value V) V {
	f.mu.Lock()
	defer f.mu.Unlock()
	if before, ok := f.get(key); ok {
		return before
	}
	more := map[K]V{key: value}
	if all := f.all.Load(); all != nil {
		maps.Copy(more, *all)
	}
	f.all.Store(&more)
	return value
}
