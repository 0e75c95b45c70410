package harness

import "testing"

func TestFrames_ReadTheStatus(t *testing.T) {
	for _, tt := range []struct {
		block string
		want  int
	}{
		{"\x88", 200},
		{"\x20\x8d\x00", 404},
		{"\x08\x03403...", 403},
		{"\x08\x82\x68\x01..", 401},
		{"\x20\x0e\x82\x68\x41..", 421},
	} {
		if got := status([]byte(tt.block)); got != tt.want {
			t.Errorf("%q says %d, want %d", tt.block, got, tt.want)
		}
	}
}
