// Package corpus sends what real HTTP clients send, and sees it arrive as it was
// sent: each client makes the same requests twice, straight at an upstream that
// keeps every byte and through bearerd.
package corpus
