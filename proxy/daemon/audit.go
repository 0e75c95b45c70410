package daemon

import (
	"errors"
	"net/http"
	"time"

	"bearerd/credentials"
	"bearerd/policy"
	"bearerd/policy/audit"
	"bearerd/proxy"
)

// auditor writes to the audit log what the configuration in force wants written.
type auditor struct {
	policy.AuditConfig
	log    *audit.Log // nil: there is none
	failed func(error)
}

// openAudit opens the audit log of a configuration, or goes on with the one before
// where it is the same file.
func openAudit(cfg policy.AuditConfig, before *auditor, failed func(error)) (*auditor, error) {
	a := &auditor{AuditConfig: cfg, failed: failed}
	switch {
	case cfg.File == "":
	case before != nil && before.log != nil && before.File == cfg.File:
		a.log = before.log
	default:
		opened, err := audit.Open(cfg)
		if err != nil {
			return nil, errors.New("policy.audit.file: " + err.Error())
		}
		a.log = opened
	}
	return a, nil
}

// checkAudit notes a file that cannot be written.
func (c *Config) checkAudit(m *mistakes) {
	if c.Policy.Audit.File == "" {
		return
	}
	if err := audit.Check(c.Policy.Audit.File); err != nil {
		m.Add([]any{"policy", "audit", "file"}, "%v", err)
	}
}

// close ends the log, unless the next goes on with it.
func (a *auditor) close(next *auditor) {
	if a != nil && a.log != nil && (next == nil || next.log != a.log) {
		_ = a.log.Close() // what could not be written was told of when it was
	}
}

// write returns an error only where what cannot be written must not happen.
func (a *auditor) write(event audit.Event) error {
	if a.log == nil {
		return nil
	}
	err := a.log.Write(event)
	if err == nil {
		return nil
	}
	a.failed(err)
	if a.Required {
		return err
	}
	return nil
}

// allowed is told of what a rule allows, before it is done.
func (a *auditor) allowed(x *proxy.Exchange) error {
	if !a.Reads && (x.Method == http.MethodGet || x.Method == http.MethodHead || x.Method == http.MethodOptions) {
		return nil
	}
	return a.write(about(x, audit.Allowed))
}

// answered is told of every request at its end, and writes those that bearerd
// denied or refused.
func (a *auditor) answered(x *proxy.Exchange) {
	switch {
	case x.Decision == "deny", x.Code == "rate_limited":
		_ = a.write(about(x, audit.Denied)) // nothing was done that would have to be kept from happening
	case x.Decision == "" && x.Code != "":
		_ = a.write(about(x, audit.Refused))
	}
}

func about(x *proxy.Exchange, kind audit.Kind) audit.Event {
	return audit.Event{
		Time: x.Start, Kind: kind, RequestID: x.ID, Caller: x.Caller, Peer: x.Peer, Upstream: x.Upstream,
		Method: x.Method, Path: x.Target, Rule: x.Rule, Credential: x.Credential, Code: x.Code,
	}
}

func (a *auditor) renewal(r credentials.Renewal) {
	event := audit.Event{Kind: audit.Renewal, Credential: r.Credential, Code: string(r.Class)}
	if r.Err != nil {
		event.Err = r.Err.Error()
	} else {
		event.Fingerprint = r.Token.Fingerprint()
	}
	_ = a.write(event)
}

func (a *auditor) reload(err error) {
	event := audit.Event{Kind: audit.Reload}
	if err != nil {
		event.Err = "not reloaded: " + err.Error()
	}
	_ = a.write(event)
}

// auditFailed tells the log once a minute, and the metrics each time.
func (d *daemon) auditFailed(err error) {
	d.metrics.AuditError()
	now := time.Now().Unix()
	if last := d.auditTold.Load(); now-last >= 60 && d.auditTold.CompareAndSwap(last, now) {
		d.log.Error().AnErr("err", err).Msg("audit log not written")
	}
}
