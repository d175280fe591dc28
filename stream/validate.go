package stream

import (
	"cmp"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"
)

// Validate says what is wrong with the names of r: an account has 12 digits, a
// region 1 to 64 of [a-z0-9-], a stream 1 to 128 of [a-zA-Z0-9_.-]. All faults
// at once, each wrapping [ErrInvalid].
func (r Ref) Validate() error {
	var errs []error
	if len(r.Account) != 12 || !every(r.Account, digit) {
		errs = append(errs, fmt.Errorf("%w: account %q: want 12 digits", ErrInvalid, r.Account))
	}
	if len(r.Region) < 1 || len(r.Region) > 64 || !every(r.Region, func(c byte) bool { return digit(c) || lower(c) || c == '-' }) {
		errs = append(errs, fmt.Errorf("%w: region %q: want 1 to 64 of a-z, 0-9 and -", ErrInvalid, r.Region))
	}
	if len(r.Name) < 1 || len(r.Name) > maxNameChars || !every(r.Name, nameChar) {
		errs = append(errs, fmt.Errorf("%w: stream name %q: want 1 to %d of a-z, A-Z, 0-9, _, . and -", ErrInvalid, r.Name, maxNameChars))
	}
	return errors.Join(errs...)
}

func digit(c byte) bool { return '0' <= c && c <= '9' }
func lower(c byte) bool { return 'a' <= c && c <= 'z' }

func nameChar(c byte) bool {
	return digit(c) || lower(c) || 'A' <= c && c <= 'Z' || c == '_' || c == '.' || c == '-'
}

func every(s string, ok func(byte) bool) bool {
	for i := range len(s) {
		if !ok(s[i]) {
			return false
		}
	}
	return true
}

// WithDefaults is c with every zero value replaced by its default.
func (c Config) WithDefaults() Config {
	c.Shards = cmp.Or(c.Shards, 1)
	c.Retention = cmp.Or(c.Retention, MinRetention)
	c.RecordBytes = cmp.Or(c.RecordBytes, DefaultRecordBytes)
	c.Mode = cmp.Or(c.Mode, Provisioned)
	return c
}

// Validate says what is out of range in c, defaults filled in: all faults at
// once, each wrapping [ErrInvalid]. Retention goes by the hour and record size
// by the KiB, because AWS's API can express nothing finer. MaxBytes has room for
// one record at least.
func (c Config) Validate() error {
	var errs []error
	if c.Shards < 1 || c.Shards > MaxShards {
		errs = append(errs, fmt.Errorf("%w: %d shards: want 1 to %d", ErrInvalid, c.Shards, MaxShards))
	}
	if c.Retention < MinRetention || c.Retention > MaxRetention || c.Retention%time.Hour != 0 {
		errs = append(errs, fmt.Errorf("%w: retention %s: want whole hours from 24h to 8760h", ErrInvalid, c.Retention))
	}
	if c.RecordBytes < DefaultRecordBytes || c.RecordBytes > MaxRecordBytes || c.RecordBytes%1024 != 0 {
		errs = append(errs, fmt.Errorf("%w: record size of %d bytes: want whole KiB from 1024 to 10240", ErrInvalid, c.RecordBytes))
	}
	if c.Mode != Provisioned && c.Mode != OnDemand {
		errs = append(errs, fmt.Errorf("%w: mode %q: want %s or %s", ErrInvalid, c.Mode, Provisioned, OnDemand))
	}
	if c.MaxBytes != 0 && c.MaxBytes < int64(c.RecordBytes) {
		errs = append(errs, fmt.Errorf("%w: a quota of %d bytes: want 0 (none), or room for at least one record of the largest size, %d bytes", ErrInvalid, c.MaxBytes, c.RecordBytes))
	}
	return errors.Join(errs...)
}

// Size is what e counts towards the limits: bytes of data and partition key.
func (e Entry) Size() int { return len(e.Data) + len(e.PartitionKey) }

// HashKey is where e belongs in the hash range: its explicit hash key if it
// has one, else the MD5 of its partition key.
func (e Entry) HashKey() (HashKey, error) {
	if e.ExplicitHashKey != "" {
		return ParseHashKey(e.ExplicitHashKey)
	}
	return HashOf(e.PartitionKey), nil
}

// Validate says what is wrong with e in a stream that takes records of
// recordBytes: all faults at once, each wrapping [ErrInvalid]. Empty data is a
// record like any other. A TraceParent that is none is no fault.
func (e Entry) Validate(recordBytes int) error {
	var errs []error
	switch chars := utf8.RuneCountInString(e.PartitionKey); {
	case chars < 1 || chars > MaxKeyChars:
		errs = append(errs, fmt.Errorf("%w: partition key of %d characters: want 1 to %d", ErrInvalid, chars, MaxKeyChars))
	case !utf8.ValidString(e.PartitionKey):
		// The event is JSON: such a key could not reach the function as it was put.
		errs = append(errs, fmt.Errorf("%w: partition key %q: want valid UTF-8", ErrInvalid, e.PartitionKey))
	}
	if e.ExplicitHashKey != "" {
		if _, err := ParseHashKey(e.ExplicitHashKey); err != nil {
			errs = append(errs, err)
		}
	}
	if e.Size() > recordBytes {
		errs = append(errs, fmt.Errorf("%w: record of %d bytes, data and partition key: want at most %d", ErrInvalid, e.Size(), recordBytes))
	}
	return errors.Join(errs...)
}

// maxNamedRecords is how many bad records of a call an error names before it
// only counts.
const maxNamedRecords = 10

// ValidateCall says what is wrong with entries as one call: their number (1 to
// 500), their bytes together (10 MiB) and each of them, by its index from 0.
// As on AWS one bad record spoils the call: nothing of it may be stored.
func ValidateCall(entries []Entry, recordBytes int) error {
	if len(entries) < 1 || len(entries) > MaxPutRecords {
		return fmt.Errorf("%w: a call of %d records: want 1 to %d", ErrInvalid, len(entries), MaxPutRecords)
	}
	var errs []error
	bad, total := 0, 0
	for i, e := range entries {
		total += e.Size()
		if err := e.Validate(recordBytes); err != nil {
			if bad++; bad <= maxNamedRecords {
				errs = append(errs, fmt.Errorf("record %d: %w", i, err))
			}
		}
	}
	if bad > maxNamedRecords {
		errs = append(errs, fmt.Errorf("%w: %d more records", ErrInvalid, bad-maxNamedRecords))
	}
	if total > MaxPutBytes {
		errs = append(errs, fmt.Errorf("%w: a call of %d bytes, data and partition keys: want at most %d", ErrInvalid, total, MaxPutBytes))
	}
	return errors.Join(errs...)
}

// ValidTraceParent says that s is a W3C traceparent of version 00. By that
// standard a malformed one is ignored, not refused.
func ValidTraceParent(s string) bool {
	// 00-<32 hex>-<16 hex>-<2 hex>, lower case; neither id all zeros.
	if len(s) != 55 || s[:3] != "00-" || s[35] != '-' || s[52] != '-' {
		return false
	}
	hex := func(c byte) bool { return digit(c) || 'a' <= c && c <= 'f' }
	zero := func(c byte) bool { return c == '0' }
	trace, span, flags := s[3:35], s[36:52], s[53:]
	return every(trace, hex) && every(span, hex) && every(flags, hex) && !every(trace, zero) && !every(span, zero)
}

// Validate says that p names a kind and carries what that kind needs.
func (p Position) Validate() error {
	switch p.Kind {
	case TrimHorizon, Latest:
		return nil
	case AtTimestamp:
		if p.Time.IsZero() {
			return fmt.Errorf("%w: position %s needs a time", ErrInvalid, p.Kind)
		}
	case At, After:
		if p.Sequence.IsZero() {
			return fmt.Errorf("%w: position %s needs a sequence number", ErrInvalid, p.Kind)
		}
	default:
		return fmt.Errorf("%w: position %q: want %s, %s, %s, %s or %s", ErrInvalid, p.Kind, TrimHorizon, Latest, AtTimestamp, At, After)
	}
	return nil
}
