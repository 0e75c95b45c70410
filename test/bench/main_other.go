//go:build !linux

package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "bench reads what Linux counts of a process (/proc); run it there")
	os.Exit(1)
}
