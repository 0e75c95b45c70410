package credentials

import "time"

// Hurry has every credential by grant asked for as often as tests of seconds need.
func (s *Set) Hurry() {
	for _, member := range s.members {
		if c, ok := member.(*ClientCredentials); ok {
			c.pace = pace{10 * time.Millisecond, 10 * time.Millisecond, 1 << 20}
		}
	}
}
