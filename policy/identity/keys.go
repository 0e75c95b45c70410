package identity

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"bearerd/policy"
)

const (
	freshFor    = 10 * time.Minute // then they are asked for beside a request
	believedFor = time.Hour        // without the issuer: what it took back must end some time
	askEvery    = time.Minute      // whatever callers show
	failureRest = 5 * time.Second  // after a failure, when there are no keys to go on with
)

// keySet has an issuer's keys. They are asked for when first needed, beside the
// requests that need them after that, and once more for a token that none of them
// has signed: callers can cause that much and no more.
type keySet struct {
	name      string
	cfg       policy.JWTConfig
	transport http.RoundTripper // used directly, so that no redirect is followed

	mu      sync.Mutex // guards the fields below
	keys    []key
	fetched time.Time // when keys were asked for; zero if there are none yet
	asked   time.Time // when the issuer was asked last
	failure error     // of that time
	failed  time.Time // when it did
	flight  *flight[[]key]
}

// current returns the keys that are believed now. It waits for the issuer only if
// there are none.
func (s *keySet) current(ctx context.Context) ([]key, error) {
	s.mu.Lock()
	now := time.Now()
	if age := now.Sub(s.fetched); !s.fetched.IsZero() && age < believedFor {
		defer s.mu.Unlock()
		if age >= freshFor && s.flight == nil && now.Sub(s.asked) >= askEvery {
			s.launch(ctx)
		}
		return s.keys, nil
	}
	if s.flight == nil {
		if s.failure != nil && now.Sub(s.failed) < failureRest {
			defer s.mu.Unlock()
			return nil, s.failure
		}
		s.launch(ctx)
	}
	flying := s.flight
	s.mu.Unlock()
	return flying.wait(ctx)
}

// again returns newer keys than those that have checked a token in vain; nil if the
// issuer was asked within the minute and had no others.
func (s *keySet) again(ctx context.Context) ([]key, error) {
	s.mu.Lock()
	if s.flight == nil {
		if time.Since(s.asked) < askEvery {
			defer s.mu.Unlock()
			return nil, s.failure
		}
		s.launch(ctx)
	}
	flying := s.flight
	s.mu.Unlock()
	return flying.wait(ctx)
}

// launch asks the issuer; mu is held.
func (s *keySet) launch(ctx context.Context) {
	now := time.Now()
	s.asked = now
	s.flight = launch(ctx, s.fetch, func(keys []key, err error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.flight, s.failure = nil, err
		if err != nil {
			s.failed = time.Now()
			return
		}
		s.keys, s.fetched = keys, now
	})
}

// fetch asks the issuer where its keys are, unless the configuration says so, and
// for the keys.
func (s *keySet) fetch(ctx context.Context) ([]key, error) {
	at := s.cfg.JWKS
	if at == "" {
		var err error
		if at, err = s.discover(ctx); err != nil {
			return nil, s.fail("the issuer", err)
		}
	}
	body, err := s.get(ctx, at)
	if err != nil {
		return nil, s.fail("the place of the keys", err)
	}
	keys, err := parseKeys(body)
	if err != nil {
		return nil, s.fail("the place of the keys", err)
	}
	return keys, nil
}

// discover reads the issuer's metadata (OpenID Connect Discovery 1.0 §4).
func (s *keySet) discover(ctx context.Context) (string, error) {
	body, err := s.get(ctx, strings.TrimSuffix(s.cfg.Issuer, "/")+"/.well-known/openid-configuration")
	if err != nil {
		return "", err
	}
	var document struct {
		Issuer string `json:"issuer"`
		JWKS   string `json:"jwks_uri"`
	}
	if json.Unmarshal(body, &document) != nil {
		return "", errors.New("answered with something other than its metadata; write jwks")
	}
	if document.Issuer != s.cfg.Issuer {
		return "", errors.New("has another issuer's metadata; write issuer exactly as the issuer itself does, or jwks")
	}
	u, err := url.Parse(document.JWKS)
	if err != nil || u.Host == "" || u.User != nil || u.Scheme != "https" && (u.Scheme != "http" || !s.cfg.InsecureHTTP) {
		return "", errors.New("names no place of its keys that can be asked; write jwks")
	}
	return document.JWKS, nil
}

func (s *keySet) get(ctx context.Context, at string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return nil, errors.New("has a URL that cannot be used")
	}
	got, err := fetch(s.transport, req)
	return got.body, err
}

func (s *keySet) fail(who string, err error) error {
	return cannotTell("the keys of " + s.name + ": " + who + " " + err.Error())
}
