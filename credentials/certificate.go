package credentials

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
)

// ReadCertificate returns the certificate, with what leads to its authority, and
// the private key that the two name, in PEM. The key's file is checked as Read
// does; a certificate may be read by everybody. Errors say what to do, and hold
// nothing of what the files do.
func ReadCertificate(certificate, key Reference) (*tls.Certificate, error) {
	chain, where, err := certificate.public()
	if err != nil {
		return nil, err
	}
	private, _, err := key.text()
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair([]byte(chain), []byte(private))
	if err != nil { // its text may quote the file
		return nil, fmt.Errorf("%s and its key do not make a pair; write a certificate and its private key, both in PEM", where)
	}
	return &pair, nil
}

// ReadAuthorities returns the certificates (PEM) that r names, of which there must
// be one at least: none would be no authority at all.
func (r Reference) ReadAuthorities() (*x509.CertPool, error) {
	text, where, err := r.public()
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM([]byte(text)) {
		return nil, fmt.Errorf("%s holds no certificate; write the authorities' certificates into it, in PEM", where)
	}
	return pool, nil
}

// ReadPublic returns what r names where that is no secret, such as certificates: the
// file may be anybody's to read. Its errors say what to do.
func (r Reference) ReadPublic() ([]byte, error) {
	text, _, err := r.public()
	return []byte(text), err
}
