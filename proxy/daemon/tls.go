package daemon

import (
	"crypto/tls"
	"sync"
	"sync/atomic"
	"time"

	"bearerd/credentials"
	"bearerd/proxy"
)

// recheckTLS is how long a listener's files are taken for what they were.
const recheckTLS = 2 * time.Second

// certificates is how a listener speaks TLS: with what its files have, as they
// change.
type certificates struct {
	current atomic.Pointer[tls.Config]
	tell    func(error) // of a change that cannot be used, once

	mu      sync.Mutex // guards the fields below
	files   proxy.ListenerTLS
	checked time.Time
	told    string
}

func newCertificates(files proxy.ListenerTLS, tell func(error)) (*certificates, error) {
	c := &certificates{files: files, tell: tell, checked: time.Now()}
	settings, err := tlsSettings(files)
	if err != nil {
		return nil, err
	}
	c.current.Store(settings)
	return c, nil
}

// config is for tls.NewListener.
func (c *certificates) config() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, GetConfigForClient: c.forClient}
}

// forClient is asked at each handshake. Where it is time, the one that asks reads
// the files; the others do not wait for it.
func (c *certificates) forClient(*tls.ClientHelloInfo) (*tls.Config, error) {
	if c.mu.TryLock() {
		if time.Since(c.checked) >= recheckTLS {
			c.read()
		}
		c.mu.Unlock()
	}
	return c.current.Load(), nil
}

// use takes other files, as a reload of the configuration names them.
func (c *certificates) use(files proxy.ListenerTLS) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.files = files
	c.read()
}

// read takes what the files have, all or nothing. The caller holds mu.
func (c *certificates) read() {
	c.checked = time.Now()
	settings, err := tlsSettings(c.files)
	if err != nil { // they may have been swapped between one file and the next
		settings, err = tlsSettings(c.files)
	}
	switch {
	case err == nil:
		c.current.Store(settings)
		c.told = ""
	case c.told != err.Error():
		c.told = err.Error()
		c.tell(err)
	}
}

// tlsSettings reads the files. There are no session tickets: a client that comes
// back has to show its certificate to the authorities of the moment.
func tlsSettings(files proxy.ListenerTLS) (*tls.Config, error) {
	pair, err := credentials.ReadCertificate(files.Certificate, files.Key)
	if err != nil {
		return nil, err
	}
	settings := &tls.Config{
		MinVersion:             tls.VersionTLS12,
		Certificates:           []tls.Certificate{*pair},
		NextProtos:             []string{"h2", "http/1.1"},
		SessionTicketsDisabled: true,
	}
	if files.ClientCA == "" {
		return settings, nil
	}
	settings.ClientAuth = tls.RequireAndVerifyClientCert
	settings.ClientCAs, err = files.ClientCA.ReadAuthorities() // never nil: that would be the system's
	return settings, err
}
