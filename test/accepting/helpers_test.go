package accepting_test

import (
	"testing"

	"bearerd/test/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }
