package kv

// For tests outside the package.
var (
	EncodeKey = encodeKey
	DecodeKey = decodeKey
)
