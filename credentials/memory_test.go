package credentials_test

import (
	"testing"

	"bearerd/credentials"
	"bearerd/credentials/storetest"
)

func TestMemory_IsAStore(t *testing.T) {
	storetest.Run(t, func(*testing.T) credentials.Store { return credentials.NewMemory() })
}
