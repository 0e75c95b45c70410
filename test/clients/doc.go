// Package clients holds tests of bearerd with the tools people point at it: the
// Globus SDKs and CLI, JavaScript, Java, Perl, R, Python, curl, wget and HTTPie. Each
// block of docs/tools.md is run with the tool that it is for; the programs beside
// this file are more of what such tools do. `make clients` installs what comes from
// PyPI and npm. At the end stands a table of who took part.
package clients
