package proxy

import (
	"strings"
	"testing"

	"bearerd/policy"
)

func TestPlaceholder_ReadsBackWhatItPrints(t *testing.T) {
	for _, want := range []placeholder{
		{resourceServer: "transfer.api.globus.org"},
		{resourceServer: "funcx_service"},
		{resourceServer: "524230d7-ea86-4a52-8312-86065a9e0417", caller: "cron", seal: "abc-_1"},
		{resourceServer: "https://api.example.org/größe ~x"},
		{resourceServer: "+plus"},
	} {
		text := want.String()
		if !strings.HasPrefix(text, "bearerd-placeholder.") || strings.ContainsAny(text, " :%ö") {
			t.Errorf("%q is no bearer token that can be told", text)
		}
		if got, ok := parsePlaceholder(text); !ok || got != want {
			t.Errorf("parsePlaceholder(%q) = %+v, %v, want %+v", text, got, ok, want)
		}
	}
}

func TestPlaceholder_IsNothingElse(t *testing.T) {
	for _, text := range []string{
		"", "AgEXAMPLE", "bearerd-placeholder", "bearerd-placeholder.", "bearerd-placeholder.a~b", "bearerd-placeholder.a~~c",
		"bearerd-placeholder.a~b~", "bearerd-placeholder.a~b~c~d", "bearerd-placeholder.+", "bearerd-placeholder.+!",
		"bearerd-placeholder.+YQ", // a, which is written as it is
		"bearerd-placeholder.a b", "Bearerd-placeholder.a", " bearerd-placeholder.a", "bearerd-placeholder.~cron~x",
	} {
		if got, ok := parsePlaceholder(text); ok {
			t.Errorf("parsePlaceholder(%q) = %+v, want that it is none", text, got)
		}
	}
}

func TestPlaceholder_StandsForAKeyOnlyWhileBothSecretsLast(t *testing.T) {
	seal := func(secret string) func(string) string {
		return func(text string) string { return policyHash(secret + text) }
	}
	known := func(keys ...string) *policy.Policy {
		caller := policy.CallerConfig{Name: "cron", Key: "file:keys"}
		for _, key := range keys {
			caller.Keys = append(caller.Keys, policy.HashKey(key))
		}
		other := policy.CallerConfig{Name: "other", Key: "file:other", Keys: []policy.KeyHash{policy.HashKey("other")}}
		return policy.New(policy.Config{Callers: []policy.CallerConfig{caller, other}}, nil, nil)
	}
	p := placeholder{resourceServer: "rs", caller: "cron"}
	p.seal = p.sealFor(policy.HashKey("k1"), seal("s"))
	good, keys := seal("s"), known("k0", "k1")
	if got := p.key(keys, good); got == nil || *got != policy.HashKey("k1") {
		t.Error("a good placeholder is not taken")
	}
	if p.key(keys, seal("rotated")) != nil {
		t.Error("it outlives the client's secret")
	}
	if p.key(known("k0"), good) != nil {
		t.Error("it outlives the caller's key")
	}
	for name, forged := range map[string]placeholder{
		"another caller":          {"rs", "other", p.seal},
		"nobody known":            {"rs", "nobody", p.seal},
		"another resource server": {"rs2", "cron", p.seal},
		"another seal":            {"rs", "cron", p.seal[1:] + "A"},
		"no seal":                 {"rs", "cron", ""},
	} {
		if forged.key(keys, good) != nil {
			t.Errorf("%s: it is taken", name)
		}
	}
	if p.key(keys, func(string) string { return "" }) != nil || (placeholder{"rs", "cron", ""}).key(keys, func(string) string { return "" }) != nil {
		t.Error("where nothing can be sealed, it is taken")
	}
}

func policyHash(text string) string {
	sum := policy.HashKey(text)
	return encodeName(string(sum[:]))[1:]
}

func FuzzPlaceholder(f *testing.F) {
	for _, seed := range []string{"bearerd-placeholder.a", "bearerd-placeholder.+YSBi~cron~x", "x"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if p, ok := parsePlaceholder(text); ok && p.String() != text {
			t.Errorf("parsePlaceholder(%q) prints %q", text, p.String())
		}
	})
}
