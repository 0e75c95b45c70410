// Package browser opens pages of other origins in a real browser, which try to
// have it send requests to bearerd in every way that a page can.
package browser
