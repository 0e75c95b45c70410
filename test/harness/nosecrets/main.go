// Nosecrets searches files, such as the log of a whole test run, for an
// emulator's tokens and its client secret in every usual form, and fails if
// there are any.
package main

import (
	"fmt"
	"os"

	"bearerd/test/emulator"
	"bearerd/test/harness"
)

func main() {
	hits := 0
	for _, path := range os.Args[1:] {
		data, err := os.ReadFile(path)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		for _, found := range harness.FindSecrets(data, emulator.DemoClientSecret) {
			fmt.Printf("%s: %s\n", path, found)
			hits++
		}
		fmt.Printf("%s: %d bytes searched for tokens and secrets, %d found\n", path, len(data), hits)
	}
	if hits > 0 {
		os.Exit(1)
	}
}
