# Of the log of `go test -v`: the output of tests that failed or were skipped, what
# belongs to no test, and one line a package.
/^=== (RUN|NAME|CONT|PAUSE) / { test = $3; next }
/^ *--- (PASS|SKIP|FAIL): / {
	if ($2 != "PASS:") printf "%s%s\n", kept[$3], $0
	delete kept[$3]
	test = ""
	next
}
/^(ok|\?|FAIL)[ \t]/ {
	if ($1 == "FAIL") for (name in kept) printf "%s did not end:\n%s", name, kept[name]
	split("", kept)
	test = ""
	print
	next
}
/^(PASS|FAIL)$/ { next }
test == "" { print; next }
{ kept[test] = kept[test] $0 "\n" }
