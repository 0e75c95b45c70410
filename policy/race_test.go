//go:build race

package policy

// raceEnabled says that everything takes several times as long.
const raceEnabled = true
