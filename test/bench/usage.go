//go:build linux

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// tree are a process and its children.
func tree(pid int) (pids []int) {
	pids = []int{pid}
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid)) // none: it has ended
	for field := range strings.FieldsSeq(string(text)) {
		if child, err := strconv.Atoi(field); err == nil {
			pids = append(pids, tree(child)...)
		}
	}
	return pids
}

// cpu is how long the threads of a process and its children have run, as the kernel
// counts it.
func cpu(pid int) (ran time.Duration) {
	for _, one := range tree(pid) {
		files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", one))
		for _, file := range files {
			text, _ := os.ReadFile(file) // none: the thread has ended
			first, _, _ := strings.Cut(string(text), " ")
			ns, _ := strconv.ParseInt(first, 10, 64)
			ran += time.Duration(ns)
		}
	}
	return ran
}

// memory is what they have in memory, in KiB.
func memory(pid int) float64 { return counted(pid, "VmRSS:") }

// peak is what they had at the most since forgetPeak, in KiB.
func peak(pid int) float64 { return counted(pid, "VmHWM:") }

func counted(pid int, name string) (kib float64) {
	for _, one := range tree(pid) {
		text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", one))
		for line := range strings.Lines(string(text)) {
			if value, found := strings.CutPrefix(line, name); found {
				n, _ := strconv.ParseFloat(strings.Fields(value)[0], 64)
				kib += n
			}
		}
	}
	return kib
}

func forgetPeak(pid int) error {
	for _, one := range tree(pid) {
		if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", one), []byte("5"), 0); err != nil {
			return err
		}
	}
	return nil
}
