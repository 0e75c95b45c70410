// Package battery is raw requests that a token-injecting proxy must refuse, or pass
// on as they are meant, each with the outcome wanted. Its tests send them to
// bearerd in front of an upstream that keeps every byte, and to other proxies for
// comparison; whatever else decides on requests can be held against Cases too.
//
// The words: a case is hostile if it is wanted refused for what it is, not for who
// sends it or what the rules say; it is odd if it looks wrong and passes all the
// same, for the reason it gives.
package battery
