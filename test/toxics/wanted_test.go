package toxics_test

import (
	"cmp"
	"fmt"
	"strings"
	"testing"
)

// wanted is what becomes of each request. The size is that of the answer, and with POST
// and PUT of the body. 1 KiB is held and could be sent again; 128 KiB stream; of 2 MiB
// the upstream is asked first whether it wants them. In each cell is how often bearerd
// sends the request, how often the upstream gets all of it, and what the caller is told:
// a code of bearerd's, all of the answer ("whole"), or what nobody takes for all of it
// ("cut").
//
// Sent twice is what only reads, and what broke before anything of its body had left.
// Nothing that the upstream may have done is done again.
const wanted = `
latency     up    GET    | 1/1 whole                | 1/1 whole                | 1/1 whole
latency     up    POST   | 1/1 whole                | 1/1 whole                | 1/1 whole
latency     up    PUT    | 1/1 whole                | 1/1 whole                | 1/1 whole
latency     up    DELETE | 1/1 whole                | 1/1 whole                | 1/1 whole
latency     down  GET    | 1/1 whole                | 1/1 whole                | 1/1 whole
latency     down  POST   | 1/1 whole                | 1/1 whole                | 1/1 whole
latency     down  PUT    | 1/1 whole                | 1/1 whole                | 1/1 whole
latency     down  DELETE | 1/1 whole                | 1/1 whole                | 1/1 whole
slicer      up    GET    | 1/1 whole                | 1/1 whole                | 1/1 whole
slicer      up    POST   | 1/1 whole                | 1/1 whole                | 1/1 whole
slicer      up    PUT    | 1/1 whole                | 1/1 whole                | 1/1 whole
slicer      up    DELETE | 1/1 whole                | 1/1 whole                | 1/1 whole
slicer      down  GET    | 1/1 whole                | 1/1 whole                | 1/1 whole
slicer      down  POST   | 1/1 whole                | 1/1 whole                | 1/1 whole
slicer      down  PUT    | 1/1 whole                | 1/1 whole                | 1/1 whole
slicer      down  DELETE | 1/1 whole                | 1/1 whole                | 1/1 whole
timeout     up    GET    | 1/0 upstream_timeout     | 1/0 upstream_timeout     | 1/0 upstream_timeout
timeout     up    POST   | 1/0 upstream_timeout     | 1/0 upstream_timeout     | 1/0 upstream_timeout
timeout     up    PUT    | 1/0 upstream_timeout     | 1/0 upstream_timeout     | 1/0 upstream_timeout
timeout     up    DELETE | 1/0 upstream_timeout     | 1/0 upstream_timeout     | 1/0 upstream_timeout
timeout     down  GET    | 1/1 upstream_timeout     | 1/1 upstream_timeout     | 1/1 upstream_timeout
timeout     down  POST   | 1/1 upstream_timeout     | 1/1 upstream_timeout     | 1/1 upstream_timeout
timeout     down  PUT    | 1/1 upstream_timeout     | 1/1 upstream_timeout     | 1/1 upstream_timeout
timeout     down  DELETE | 1/1 upstream_timeout     | 1/1 upstream_timeout     | 1/1 upstream_timeout
reset_peer  up    GET    | 2/0 upstream_unreachable | 2/0 upstream_unreachable | 2/0 upstream_unreachable
reset_peer  up    POST   | 1/0 outcome_unknown      | 1/0 outcome_unknown      | 2/0 upstream_unreachable
reset_peer  up    PUT    | 1/0 outcome_unknown      | 1/0 outcome_unknown      | 2/0 upstream_unreachable
reset_peer  up    DELETE | 1/0 outcome_unknown      | 1/0 outcome_unknown      | 1/0 outcome_unknown
reset_peer  down  GET    | 2/2 upstream_unreachable | 2/2 upstream_unreachable | 2/2 upstream_unreachable
reset_peer  down  POST   | 1/1 outcome_unknown      | 1/1 outcome_unknown      | 2/0 upstream_unreachable
reset_peer  down  PUT    | 1/1 outcome_unknown      | 1/1 outcome_unknown      | 2/0 upstream_unreachable
reset_peer  down  DELETE | 1/1 outcome_unknown      | 1/1 outcome_unknown      | 1/1 outcome_unknown
limit_data  up    GET    | 2/0 upstream_unreachable | 2/0 upstream_unreachable | 2/0 upstream_unreachable
limit_data  up    POST   | 1/0 outcome_unknown      | 1/0 outcome_unknown      | 1/0 outcome_unknown
limit_data  up    PUT    | 1/0 outcome_unknown      | 1/0 outcome_unknown      | 1/0 outcome_unknown
limit_data  up    DELETE | 1/0 outcome_unknown      | 1/0 outcome_unknown      | 1/0 outcome_unknown
limit_data  down  GET    | 1/1 cut                  | 1/1 cut                  | 1/1 cut
limit_data  down  POST   | 1/1 cut                  | 1/1 cut                  | 1/1 cut
limit_data  down  PUT    | 1/1 cut                  | 1/1 cut                  | 1/1 cut
limit_data  down  DELETE | 1/1 cut                  | 1/1 cut                  | 1/1 cut
`

// sizes are those of wanted's columns, in bytes.
var sizes = []int{1 << 10, 128 << 10, 2 << 20}

// A cell is one of wanted's.
type cell struct {
	toxic, direction, method string
	size                     int
	sent, done               int
	told                     string
}

func cells(t *testing.T) []cell {
	var all []cell
	for line := range strings.Lines(strings.TrimPrefix(wanted, "\n")) {
		parts := strings.Split(line, "|")
		for i, size := range sizes {
			c := cell{size: size}
			_, err := fmt.Sscan(parts[0], &c.toxic, &c.direction, &c.method)
			if _, more := fmt.Sscanf(strings.TrimSpace(parts[i+1]), "%d/%d %s", &c.sent, &c.done, &c.told); cmp.Or(err, more) != nil {
				t.Fatalf("%q: %v", line, cmp.Or(err, more))
			}
			all = append(all, c)
		}
	}
	return all
}

// name is one that toxiproxy and bearerd both take.
func (c cell) name() string {
	return strings.ToLower(fmt.Sprintf("%s-%s-%s-%d", c.toxic, c.direction, c.method, c.size))
}

// path has the size of the answer first.
func (c cell) path() string { return fmt.Sprintf("/%d/%s", c.size, c.name()) }

// tuning is bearerd's patience: long where it should not end, short where it must, so
// that nothing depends on how fast this machine is.
func (c cell) tuning() string {
	if c.toxic == "timeout" {
		return "{response_header: 1s, body_idle: 1s}"
	}
	return "{response_header: 60s, body_idle: 60s}"
}

// toxics are what the cell's network does.
func (c cell) toxics() map[string]attributes {
	switch c.toxic {
	case "latency":
		return map[string]attributes{"latency": {"latency": 60, "jitter": 30}}
	case "slicer": // into pieces, at up to so many kB a second
		return map[string]attributes{"slicer": {"average_size": 900, "size_variation": 400, "delay": 10}, "bandwidth": {"rate": 8000}}
	case "timeout":
		return map[string]attributes{"timeout": {"timeout": 0}} // nothing comes through, nor does the connection end
	case "limit_data":
		limit := c.size / 2
		switch {
		case c.direction == "up" && !hasBody(c.method):
			limit = 50 // of the head
		case c.size == sizes[0]:
			limit = 600 // of which some are the head's
		}
		return map[string]attributes{"limit_data": {"bytes": limit}}
	}
	return map[string]attributes{c.toxic: {}}
}
