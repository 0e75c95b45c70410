package daemon

import "testing"

func TestReach_NetworksThatAreEverybodyTogether(t *testing.T) {
	for _, tt := range []struct {
		name     string
		networks []string
		want     bool
	}{
		{"all of IPv4", []string{"0.0.0.0/0"}, true},
		{"all of IPv6", []string{"10.0.0.0/8", "::/0"}, true},
		{"both halves", []string{"128.0.0.0/1", "0.0.0.0/1"}, true},
		{"a half and two quarters", []string{"0.0.0.0/1", "192.0.0.0/2", "128.0.0.0/2"}, true},
		{"a half, and again its half", []string{"0.0.0.0/2", "0.0.0.0/1", "64.0.0.0/2"}, false},
		{"the same half twice", []string{"0.0.0.0/1", "0.0.0.0/1"}, false},
		{"a half of each", []string{"0.0.0.0/1", "::/1"}, false},
		{"three quarters", []string{"0.0.0.0/1", "128.0.0.0/2"}, false},
		{"single addresses", []string{"10.1.2.3", "::1"}, false},
		{"nothing", nil, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := isEverybody(tt.networks); got != tt.want {
				t.Errorf("isEverybody(%q) = %v, want %v", tt.networks, got, tt.want)
			}
		})
	}
}
