package credentials

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

const redacted = "[redacted]"

// maxSecretBytes bounds a secret file; a longer one is some other file.
const maxSecretBytes = 64 << 10

// Secret is a value that must not be seen. It prints as [redacted] through fmt,
// JSON, YAML and logs. The zero Secret is empty.
//
// The value sits behind a pointer because fmt cannot call methods on unexported
// fields: a struct that holds a Secret then prints an address, not the value.
type Secret struct{ value *string }

// NewSecret wraps a value.
func NewSecret(value string) Secret { return Secret{&value} }

// Reveal returns the value itself. What is done with it must not end in an
// output; only the code that writes it on a request should call this.
func (s Secret) Reveal() string {
	if s.value == nil {
		return ""
	}
	return *s.value
}

// Equal reports whether both hold the same value, in time that does not depend
// on where they differ.
func (s Secret) Equal(other Secret) bool {
	return subtle.ConstantTimeCompare([]byte(s.Reveal()), []byte(other.Reveal())) == 1
}

// Format prints [redacted] for every verb.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// MarshalText returns [redacted]; JSON, YAML and log encoders use it.
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// A Reference names where a secret is kept, and is never the secret itself:
// env:NAME, file:PATH, or credential:NAME (a file in systemd's
// $CREDENTIALS_DIRECTORY). Its text is safe to print only once Check passes;
// before that it may be a secret written in the wrong place.
type Reference string

// IsReference reports whether text has the form of a Reference.
func IsReference(text string) bool {
	kind, name, found := strings.Cut(text, ":")
	return found && name != "" && (kind == "env" || kind == "file" || kind == "credential")
}

// Check returns an error, without the text, when r is not a reference.
func (r Reference) Check() error {
	switch {
	case r == "":
		return errors.New("missing; write env:NAME or file:PATH")
	case !IsReference(string(r)):
		return errors.New("not a reference, and secrets are not kept in this file; write env:NAME, file:PATH or credential:NAME")
	}
	return nil
}

// Read returns the secret that r names, without a final line break. Its errors
// say what to do and hold the name, never the value. A file must be a regular
// one of at most 64 KiB that only its owner, or a group of ours, can read.
func (r Reference) Read() (Secret, error) {
	text, where, err := r.text()
	if err != nil {
		return Secret{}, err
	}
	return secretFrom(text, where)
}

// text returns what r names as it is, and words for where it stands.
func (r Reference) text() (text, where string, err error) { return r.load(true) }

// public is text for what is no secret, such as certificates: everybody may read
// the file.
func (r Reference) public() (text, where string, err error) { return r.load(false) }

func (r Reference) load(secret bool) (text, where string, err error) {
	if err := r.Check(); err != nil {
		return "", "", err
	}
	kind, name, _ := strings.Cut(string(r), ":")
	switch kind {
	case "env":
		value := os.Getenv(name)
		if value == "" {
			return "", "", fmt.Errorf("environment variable %s is not set; export it, or write file:PATH", name)
		}
		return value, "environment variable " + name, nil
	case "credential":
		dir := os.Getenv("CREDENTIALS_DIRECTORY")
		if dir == "" {
			return "", "", fmt.Errorf("credential:%s needs $CREDENTIALS_DIRECTORY, which systemd sets for LoadCredential=; write file:PATH elsewhere", name)
		}
		if name != filepath.Base(name) {
			return "", "", fmt.Errorf("credential:%s is a path; write the name given to LoadCredential=", name)
		}
		name = filepath.Join(dir, name)
	}
	text, err = readFile(name, secret)
	return text, "file " + name, err
}

// ReadHashes returns the SHA-256 sums that r names, one a line in hex, as
// sha256sum prints them: what follows a sum is left out, and so are empty lines
// and those that begin with #. Its errors say what to do.
func (r Reference) ReadHashes() ([][sha256.Size]byte, error) {
	text, where, err := r.text()
	if err != nil {
		return nil, err
	}
	var sums [][sha256.Size]byte
	for number, line := range strings.Split(text, "\n") {
		fields := strings.Fields(line)
		if len(fields) == 0 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		sum, err := hex.DecodeString(fields[0])
		if err != nil || len(sum) != sha256.Size { // not repeated: it may be the key itself
			return nil, fmt.Errorf("%s: line %d is no SHA-256 in hex; write what printf %%s KEY | sha256sum prints", where, number+1)
		}
		if [sha256.Size]byte(sum) == sha256.Sum256(nil) {
			return nil, fmt.Errorf("%s: line %d is the SHA-256 of no key at all; write what printf %%s KEY | sha256sum prints", where, number+1)
		}
		sums = append(sums, [sha256.Size]byte(sum))
	}
	if len(sums) == 0 {
		return nil, fmt.Errorf("%s is empty; write what printf %%s KEY | sha256sum prints", where)
	}
	return sums, nil
}

func secretFrom(value, where string) (Secret, error) {
	value = strings.TrimSuffix(strings.TrimSuffix(value, "\n"), "\r")
	if value == "" {
		return Secret{}, fmt.Errorf("%s is empty; write the secret into it", where)
	}
	if strings.ContainsAny(value, "\r\n\x00") {
		return Secret{}, fmt.Errorf("%s holds several lines; write the secret alone into it", where)
	}
	return NewSecret(value), nil
}

func readFile(path string, secret bool) (string, error) {
	// Opened once and checked on the descriptor, so that the file checked is the file read.
	file, err := os.OpenFile(path, os.O_RDONLY|openNonBlocking, 0)
	if err != nil {
		return "", fmt.Errorf("file %s cannot be opened: %w; check the path and that bearerd's user may read it", path, pathCause(err))
	}
	defer func() { _ = file.Close() }()
	info, err := file.Stat()
	if err != nil {
		return "", fmt.Errorf("file %s: %w", path, pathCause(err))
	}
	if !info.Mode().IsRegular() {
		return "", fmt.Errorf("%s is not a regular file; write the path of a file that holds only the secret", path)
	}
	if secret {
		if err := checkMode(path, info); err != nil {
			return "", err
		}
	}
	data, err := io.ReadAll(io.LimitReader(file, maxSecretBytes+1))
	if err != nil {
		return "", fmt.Errorf("reading file %s: %w", path, pathCause(err))
	}
	if len(data) > maxSecretBytes {
		return "", fmt.Errorf("file %s is longer than 64 KiB; write the path of a file that holds only the secret", path)
	}
	return string(data), nil
}

// underCredentialsDirectory reports whether systemd, which sets its own modes, made the file.
func underCredentialsDirectory(path string) bool {
	dir := os.Getenv("CREDENTIALS_DIRECTORY")
	if dir == "" {
		return false
	}
	rel, err := filepath.Rel(dir, path)
	return err == nil && filepath.IsLocal(rel)
}

// pathCause drops the operation and path that the caller already names.
func pathCause(err error) error {
	var pathErr *fs.PathError
	if errors.As(err, &pathErr) {
		return pathErr.Err
	}
	return err
}
