package daemon

import (
	"fmt"

	"bearerd/credentials"
	"bearerd/credentials/filestore"
	"bearerd/credentials/redisstore"
)

// store is what keeps the tokens, by the configuration that it was made of.
type store struct {
	config credentials.StoreConfig
	credentials.Store
	close func()
}

// openStore opens the store of a configuration, or returns the one before if it is
// the same. Without any, the process's own memory is one: credentials that are
// asked for alike share a token. A store that cannot be opened is a Mistakes; one that is down is none.
func openStore(name string, cfg credentials.StoreConfig, before *store) (*store, error) {
	if before != nil && before.config.Same(cfg) {
		return before, nil
	}
	made := &store{config: cfg, Store: credentials.NewMemory(), close: func() {}}
	var err error
	switch {
	case cfg.Dir != "":
		made.Store, err = filestore.Open(cfg.Dir)
	case cfg.Redis != "":
		var redis *redisstore.Store
		if redis, err = redisstore.Open(redisstore.Options{URL: cfg.URL(), Keys: cfg.KeySecrets()}); err == nil {
			made.Store, made.close = redis, redis.Close
		}
	}
	if err != nil {
		return nil, Mistakes{fmt.Sprintf("%s: credentials.store: %v", name, err)}
	}
	return made, nil
}
