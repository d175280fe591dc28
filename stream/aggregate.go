package stream

import (
	"bytes"
	"crypto/md5"
	"encoding/binary"
)

// UserRecord is one of the records that the Kinesis Producer Library has packed
// into one, an aggregate.
type UserRecord struct {
	PartitionKey    string
	ExplicitHashKey string // empty: none
	Data            []byte // part of the aggregate's
}

// The form of an aggregate (awslabs/amazon-kinesis-producer, aggregation-format.md): magic,
// a protobuf message AggregatedRecord, MD5 of that message.
//
//	message AggregatedRecord { repeated string partition_key_table = 1; repeated string explicit_hash_key_table = 2; repeated Record records = 3; }
//	message Record { required uint64 partition_key_index = 1; optional uint64 explicit_hash_key_index = 2; required bytes data = 3; repeated Tag tags = 4; }
var aggregateMagic = []byte{0xf3, 0x89, 0x9a, 0xc2}

// Deaggregate returns the records that are packed into data, in their order; nil if data
// is no aggregate, or not a sound one: then it is a record like any other. What it returns
// takes memory in proportion to data.
func Deaggregate(data []byte) []UserRecord {
	body, ok := bytes.CutPrefix(data, aggregateMagic)
	if !ok || len(body) < md5.Size {
		return nil
	}
	body, sum := body[:len(body)-md5.Size], body[len(body)-md5.Size:]
	if have := md5.Sum(body); !bytes.Equal(have[:], sum) {
		return nil
	}
	var keys, hashes, records [][]byte
	if !fields(body, func(number, _ uint64, value []byte) bool {
		switch number {
		case 1:
			keys = append(keys, value)
		case 2:
			hashes = append(hashes, value)
		case 3:
			records = append(records, value)
		}
		return value != nil || number > 3
	}) {
		return nil
	}
	var users []UserRecord
	for _, r := range records {
		u, ok := userRecord(r, keys, hashes)
		if !ok {
			return nil
		}
		users = append(users, u)
	}
	return users
}

func userRecord(b []byte, keys, hashes [][]byte) (u UserRecord, ok bool) {
	hasKey, hasData := false, false
	ok = fields(b, func(number, index uint64, value []byte) bool {
		switch number {
		case 1:
			hasKey = value == nil && index < uint64(len(keys))
			if hasKey {
				u.PartitionKey = string(keys[index])
			}
			return hasKey
		case 2:
			if value != nil || index >= uint64(len(hashes)) {
				return false
			}
			u.ExplicitHashKey = string(hashes[index])
		case 3:
			u.Data, hasData = value, value != nil
			return hasData
		}
		return true
	})
	return u, ok && hasKey && hasData
}

// fields walks through a protobuf message. A field is a number, or bytes, which are not nil;
// each says whether it can be so. False: the message is not sound.
func fields(b []byte, each func(field, number uint64, value []byte) bool) bool {
	for len(b) > 0 {
		tag, n := binary.Uvarint(b)
		if n <= 0 || tag>>3 == 0 {
			return false
		}
		b = b[n:]
		var number uint64
		var value []byte
		switch tag & 7 {
		case 0:
			if number, n = binary.Uvarint(b); n <= 0 {
				return false
			}
		case 1:
			n = 8
		case 5:
			n = 4
		case 2:
			size, head := binary.Uvarint(b)
			if head <= 0 || size > uint64(len(b)-head) {
				return false
			}
			n = head + int(size)
			value = b[head:n:n]
		default:
			return false
		}
		if n > len(b) {
			return false
		}
		if tag&7 == 1 || tag&7 == 5 {
			number = ^uint64(0) // of no field that there is
		}
		b = b[n:]
		if !each(tag>>3, number, value) {
			return false
		}
	}
	return true
}
