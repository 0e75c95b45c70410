package metrics

import (
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"bearerd/credentials"
	"bearerd/proxy"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func filled() *Metrics {
	m := New(Deps{
		Status: func() []credentials.Status {
			return []credentials.Status{{Credential: "transfer", ExpiresAt: time.Unix(2_000_000_000, 0)}}
		},
		Breakers: func() map[string]string { return map[string]string{"transfer": "open"} },
		Dropped:  func() uint64 { return 3 },
		Version:  "v1", Go: "go1",
	})
	m.Request(exchange())
	m.InFlight("transfer", 1)
	m.Renewal(credentials.Renewal{Credential: "transfer", Took: time.Second})
	m.Renewal(credentials.Renewal{Credential: "transfer", Err: &credentials.Error{}, Class: credentials.ClassNetwork})
	m.Renewal(credentials.Renewal{Credential: "transfer", Stored: true})
	m.StoreError("get", nil)
	m.Reloaded(true)
	return m
}

func exchange() *proxy.Exchange {
	return &proxy.Exchange{
		Method: "BREW", Upstream: "transfer", Caller: "local", Decision: "deny", Code: "denied", Status: 403, Total: time.Second,
		Credential: "transfer", TokenState: credentials.StateStale, Attempts: 1, UpstreamTime: time.Second, Received: 10,
	}
}

func TestMetrics_AreAsPrometheusWantsThem(t *testing.T) {
	problems, err := testutil.GatherAndLint(filled().registry)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

func TestMetrics_CountWhatTheyAreTold(t *testing.T) {
	m := filled()
	m.Reloaded(false)
	for name, tt := range map[string]struct{ got, want float64 }{
		"an unknown method":    {testutil.ToFloat64(m.requests.WithLabelValues("transfer", "other", "403")), 1},
		"a failed renewal":     {testutil.ToFloat64(m.renewals.WithLabelValues("transfer", "failed", "network")), 1},
		"a token of the store": {testutil.ToFloat64(m.renewals.WithLabelValues("transfer", "stored", "")), 1},
		"a stale token":        {testutil.ToFloat64(m.uses.WithLabelValues("transfer", "stale")), 1},
		"in flight":            {testutil.ToFloat64(m.inFlight.WithLabelValues("transfer")), 1},
		"a store's error":      {testutil.ToFloat64(m.storeErrors.WithLabelValues("get")), 1},
		"a broken reload":      {testutil.ToFloat64(m.reloaded), 0},
		"renewals observed":    {float64(testutil.CollectAndCount(m.renewalDuration)), 1},
	} {
		if tt.got != tt.want {
			t.Errorf("%s counts %v, want %v", name, tt.got, tt.want)
		}
	}
}

func TestMetrics_ARequestCostsFewAllocations(t *testing.T) {
	m, x := filled(), exchange()
	allocations := testing.AllocsPerRun(1000, func() {
		m.InFlight("transfer", 1)
		m.Request(x)
		m.InFlight("transfer", -1)
	})
	if allocations > 1 {
		t.Errorf("%v allocations, want at most 1", allocations)
	}
	t.Logf("allocations: metrics of one request %v", allocations)
}
