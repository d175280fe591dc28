package natsd

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/minio/highwayhash"
	"github.com/nats-io/nats-server/v2/server"
)

// mend repairs what a kill while a stream is made or its settings are changed
// leaves. JetStream replaces the description first and its checksum second,
// each atomically, and refuses a description without a checksum that fits; if
// the stream is made again it writes none either, and loses the stream at the
// next start. Where the description is whole and the younger of the two, only
// the checksum is missing. mend returns how many streams it mended.
func mend(store string, log *slog.Logger) (n int) {
	dirs, _ := filepath.Glob(filepath.Join(store, server.JetStreamStoreDir, "*", "streams", "*"))
	for _, dir := range dirs {
		info, sum := filepath.Join(dir, server.JetStreamMetaFile), filepath.Join(dir, server.JetStreamMetaFileSum)
		young, err := os.Stat(info)
		if err != nil {
			continue
		}
		old, err := os.Stat(sum)
		if !errors.Is(err, fs.ErrNotExist) && (err != nil || !young.ModTime().After(old.ModTime())) {
			continue
		}
		b, err := os.ReadFile(info)
		if err != nil {
			continue
		}
		var described struct{ Name string }
		if json.Unmarshal(b, &described) != nil || described.Name != filepath.Base(dir) {
			continue
		}
		key := sha256.Sum256([]byte(described.Name))
		right := highwayhash.Sum64(b, key[:])
		text := hex.EncodeToString(leastFirst(right))
		if have, err := os.ReadFile(sum); err == nil && string(have) == text {
			continue
		}
		if err := replaceFile(sum, text); err != nil {
			log.Error("checksum of a stream's settings cannot be mended", "stream", described.Name, "err", err)
			continue
		}
		log.Warn("mended the checksum of a stream that was being made or changed when the process ended", "stream", described.Name)
		n++
	}
	return n
}

// leastFirst is the order in which the hash is written.
func leastFirst(v uint64) []byte {
	b := make([]byte, 8)
	for i := range b {
		b[i] = byte(v >> (8 * i))
	}
	return b
}
