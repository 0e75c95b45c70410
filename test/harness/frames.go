package harness

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"strconv"
	"testing"
	"time"
)

// The frames of HTTP/2 that tests send or look at (RFC 9113 §6).
const (
	FrameData         = 0
	FrameHeaders      = 1
	FrameReset        = 3
	FrameSettings     = 4
	FramePing         = 6
	FrameGoAway       = 7
	FrameWindowUpdate = 8
	FrameContinuation = 9
)

// Their flags.
const (
	EndStream  = 1
	Ack        = 1
	EndHeaders = 4
)

// Frames is a caller in HTTP/2 that sends frame by frame, also what no client would, and
// notes what comes. Of all bodies together no more than 64 KiB can come, unless it sends
// a FrameWindowUpdate.
type Frames struct {
	Settings map[uint16]uint32
	Streams  map[uint32]*Stream // that something came for
	GoneAway *GoneAway          // nil: not yet
	Closed   bool               // the connection is at its end

	t    testing.TB
	conn net.Conn
}

// Stream is what came of an answer.
type Stream struct {
	Status int // 0: none yet
	Body   string
	Ended  bool    // in good order
	Reset  *uint32 // the error; nil: none
}

// GoneAway is what the other end says when it takes no more streams.
type GoneAway struct {
	Last  uint32 // the last stream that is answered
	Error uint32
}

// DialFrames connects over TLS, and speaks HTTP/2 until the test ends.
func DialFrames(t testing.TB, address string, settings *tls.Config) *Frames {
	t.Helper()
	settings = settings.Clone()
	settings.NextProtos = []string{"h2"}
	conn, err := tls.Dial("tcp", address, settings)
	if err != nil {
		t.Fatal(err)
	}
	if got := conn.ConnectionState().NegotiatedProtocol; got != "h2" {
		t.Fatalf("agreed on %q, want HTTP/2", got)
	}
	_ = conn.SetDeadline(time.Now().Add(30 * time.Second)) // a hang is a failure, not a wait
	f := NewFrames(t, conn)
	f.Greet()
	return f
}

// NewFrames is for a connection that agreed on HTTP/2. It is closed when the test ends.
func NewFrames(t testing.TB, conn net.Conn) *Frames {
	t.Cleanup(func() { _ = conn.Close() })
	return &Frames{Settings: map[uint16]uint32{}, Streams: map[uint32]*Stream{}, t: t, conn: conn}
}

// Greet sends what each connection begins with, and waits for the other end's.
func (f *Frames) Greet() {
	f.t.Helper()
	_, _ = io.WriteString(f.conn, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
	f.Send(FrameSettings, 0, 0, []byte{0, 1, 0, 0, 0, 0}) // no table of headers, so that they can be read
	f.Until(func() bool { return len(f.Settings) > 0 })
}

// Send sends a frame. Where the connection has ended, reading will tell.
func (f *Frames) Send(kind, flags byte, stream uint32, payload []byte) {
	head := binary.BigEndian.AppendUint32(nil, uint32(len(payload))<<8|uint32(kind))
	head = binary.BigEndian.AppendUint32(append(head, flags), stream)
	_, _ = f.conn.Write(append(head, payload...))
}

// Ask begins a request on a stream, with a body to come or without: name, value, name,
// value.
func (f *Frames) Ask(stream uint32, hasBody bool, fields ...string) {
	flags := byte(EndHeaders | EndStream)
	if hasBody {
		flags = EndHeaders
	}
	f.Send(FrameHeaders, flags, stream, HeaderBlock(fields...))
}

// HeaderBlock is fields as HPACK's literals (RFC 7541 §6.2.2).
func HeaderBlock(fields ...string) []byte {
	var block []byte
	for i, text := range fields {
		if i%2 == 0 {
			block = append(block, 0)
		}
		n := len(text)
		if n < 127 {
			block = append(block, byte(n))
		} else {
			block = binary.AppendUvarint(append(block, 127), uint64(n-127))
		}
		block = append(block, text...)
	}
	return block
}

// Answered waits until a stream has come to its end, in good order or not.
func (f *Frames) Answered(stream uint32) *Stream {
	f.t.Helper()
	s := f.stream(stream)
	f.Until(func() bool { return s.Ended || s.Reset != nil })
	return s
}

// Until reads until something is so, or the connection at its end.
func (f *Frames) Until(so func() bool) {
	f.t.Helper()
	for !f.Closed && !so() {
		kind, flags, stream, payload, err := f.read()
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			f.t.Fatal("nothing comes on a connection in HTTP/2")
		case err != nil:
			f.Closed = true
		default:
			f.note(kind, flags, stream, payload)
		}
	}
}

func (f *Frames) read() (kind, flags byte, stream uint32, payload []byte, err error) {
	var head [9]byte
	if _, err := io.ReadFull(f.conn, head[:]); err != nil {
		return 0, 0, 0, nil, err
	}
	payload = make([]byte, binary.BigEndian.Uint32(head[:4])>>8)
	_, err = io.ReadFull(f.conn, payload)
	return head[3], head[4], binary.BigEndian.Uint32(head[5:]), payload, err
}

func (f *Frames) note(kind, flags byte, stream uint32, payload []byte) {
	s := f.stream(stream)
	switch kind {
	case FrameSettings:
		for ; len(payload) >= 6; payload = payload[6:] {
			f.Settings[binary.BigEndian.Uint16(payload)] = binary.BigEndian.Uint32(payload[2:])
		}
		if flags&Ack == 0 {
			f.Send(FrameSettings, Ack, 0, nil)
		}
	case FrameHeaders:
		s.Status, s.Ended = status(payload), flags&EndStream != 0
	case FrameData:
		s.Body, s.Ended = s.Body+string(payload), flags&EndStream != 0
	case FrameReset:
		if code := binary.BigEndian.Uint32(payload); !s.Ended {
			s.Reset = &code
		}
	case FrameGoAway:
		f.GoneAway = &GoneAway{binary.BigEndian.Uint32(payload), binary.BigEndian.Uint32(payload[4:])}
	}
}

func (f *Frames) stream(id uint32) *Stream {
	if f.Streams[id] == nil {
		f.Streams[id] = new(Stream)
	}
	return f.Streams[id]
}

// status is the one in a block of headers, which begins with it: as one of those that
// have a number of their own (RFC 7541, appendix A), or as text.
func status(block []byte) int {
	block = bytes.TrimLeft(block, "\x20") // the table of headers stays empty
	if known := []int{200, 204, 206, 304, 400, 404, 500}; len(block) > 0 && 0x88 <= block[0] && block[0] <= 0x8e {
		return known[block[0]-0x88]
	}
	if len(block) < 5 || block[0] < 8 || 14 < block[0] {
		return 0
	}
	if isCoded := block[1]&0x80 != 0; isCoded {
		return digits(binary.BigEndian.Uint32(append(block[2:4:4], 0, 0)))
	}
	n, _ := strconv.Atoi(string(block[2:5]))
	return n
}

// digits is three of them in Huffman's code (appendix B), where those up to 2 have five
// bits and the others six.
func digits(bits uint32) (n int) {
	for range 3 {
		digit := int(bits >> 27)
		bits <<= 5
		if digit > 2 {
			digit = digit&0xf<<1 + int(bits>>31) - 0x16
			bits <<= 1
		}
		n = 10*n + digit
	}
	return n
}
