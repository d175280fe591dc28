package sandbox

import (
	"encoding/json"
	"errors"
	"net"
	"os"
	"sync"
	"time"
)

// patience is how long the server waits for a child to take what is written to it.
const patience = 2 * time.Second

// control is a connection with orders and reports, seen from either side. Connections
// travel along with frames where the system can do that.
type control struct {
	conn  net.Conn
	in    *frameReader
	files *fileReader // nil: none can come

	mu  sync.Mutex // guards writing
	buf []byte
}

func newControl(conn net.Conn, withFiles bool) *control {
	c := &control{conn: conn}
	if withFiles {
		c.files = newFileReader(conn)
		c.in = newFrameReader(c.files)
	} else {
		c.in = newFrameReader(conn)
	}
	return c
}

// send writes a frame; file, if not nil, goes along with it and stays the caller's.
func (c *control) send(kind byte, message any, file *os.File) error {
	if file == nil {
		return c.sendWith(kind, message, nil)
	}
	return c.sendWith(kind, message, []*os.File{file})
}

// sendWith is send with any number of files, in this order.
func (c *control) sendWith(kind byte, message any, files []*os.File) error {
	payload, err := json.Marshal(message)
	if err != nil {
		return err
	}
	return c.sendRaw(kind, payload, files)
}

func (c *control) sendRaw(kind byte, payload []byte, files []*os.File) error {
	if len(payload) > maxControl {
		return errors.New("sandbox: the frame is too long")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.buf = appendFrame(c.buf[:0], kind, payload)
	if err := c.conn.SetWriteDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if len(files) > 0 {
		return sendFiles(c.conn, c.buf, files)
	}
	_, err := c.conn.Write(c.buf)
	return err
}

// receive reads a frame. The payload is good until the next.
func (c *control) receive() (byte, []byte, error) { return c.in.next(controlLimit) }

// file is the one that came along with the frame just received, nil if none did.
func (c *control) file() *os.File {
	if c.files == nil {
		return nil
	}
	return c.files.take()
}
