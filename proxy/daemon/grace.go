package daemon

import (
	"fmt"
	"strconv"
	"time"

	"bearerd/proxy"
)

// graceVariable is the environment's way to say how long whoever stops bearerd
// waits before it is killed: terminationGracePeriodSeconds, TimeoutStopSec=.
const graceVariable = "TERMINATION_GRACE"

const graceRest = time.Second // what bearerd needs at most behind its drain

// checkGrace warns if a drain may take longer than the grace, which is seconds or a
// duration; empty if nobody has said.
func checkGrace(log *logger, grace string, drain proxy.DrainConfig) {
	if grace == "" {
		return
	}
	limit, err := time.ParseDuration(grace)
	if seconds, notSeconds := strconv.ParseUint(grace, 10, 31); notSeconds == nil {
		limit, err = time.Duration(seconds)*time.Second, nil
	}
	if err != nil || limit <= 0 {
		log.Warn().Str("found", printable(grace)).Msg(graceVariable + " is no time; write seconds or a duration such as 30s")
		return
	}
	takes := drain.Delay + drain.Timeout
	if takes <= limit {
		return
	}
	advice := fmt.Sprintf("a grace of %v where bearerd is stopped", (takes + graceRest).Round(time.Second))
	if left := limit - drain.Delay - graceRest; left > 0 {
		advice = fmt.Sprintf("proxy.drain.timeout: %v, or %s", left, advice)
	}
	log.Warn().Dur("drain_ms", takes).Dur("grace_ms", limit).Str("write", advice).
		Msg("a drain may take longer than " + graceVariable + ", and requests would be cut off")
}
