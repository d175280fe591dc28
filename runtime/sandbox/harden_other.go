//go:build !linux

package sandbox

func armour(harden, bool, string, string) []string { return nil }

func seal(harden) []string { return nil }

func absent(bool) []string { return nil }

func bound(int64) error { return nil }
