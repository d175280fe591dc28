package sandbox

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// starter starts children and makes connections to them.
type starter struct {
	command  []string
	portable bool
	self     *os.File // the binary, nil if its name is used

	// Portable: where children dial, and who waits for which ticket.
	dir      string
	listener net.Listener
	mu       sync.Mutex
	tickets  map[string]chan net.Conn
	done     sync.WaitGroup
}

func newStarter(o Options) (*starter, error) {
	s := &starter{command: slices.Clone(o.Command), portable: o.Portable, tickets: map[string]chan net.Conn{}}
	if err := keepOurs(); err != nil {
		return nil, fmt.Errorf("sandbox: descriptors that children must not have: %w", err)
	}
	if len(s.command) == 0 {
		if !asked.Load() {
			return nil, errors.New("sandbox: this program cannot be started as a child: call sandbox.Child(os.Args) first thing in main, and in TestMain")
		}
		path, self, err := thisBinary()
		if err != nil {
			return nil, fmt.Errorf("sandbox: finding this program: %w", err)
		}
		s.command, s.self = []string{path}, self
	}
	if s.portable {
		if err := s.listen(); err != nil {
			return nil, errors.Join(fmt.Errorf("sandbox: %w", err), s.close())
		}
	}
	return s, nil
}

// listen opens a socket in a folder that only we can enter.
func (s *starter) listen() (err error) {
	if s.dir, err = os.MkdirTemp("", "wasmill-"); err != nil { // 0700
		return err
	}
	if s.listener, err = net.Listen("unix", filepath.Join(s.dir, "s")); err != nil {
		return err
	}
	s.done.Go(func() {
		for {
			conn, err := s.listener.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil {
				time.Sleep(10 * time.Millisecond) // no descriptors; children give up by themselves
				continue
			}
			s.done.Go(func() { s.admit(conn) })
		}
	})
	return nil
}

const ticketSize = 32 // characters

// admit hands a connection to whoever waits for its ticket.
func (s *starter) admit(conn net.Conn) {
	b := make([]byte, ticketSize)
	_ = conn.SetReadDeadline(time.Now().Add(patience))
	_, err := io.ReadFull(conn, b)
	s.mu.Lock()
	c := s.tickets[string(b)]
	delete(s.tickets, string(b))
	s.mu.Unlock()
	if err != nil || c == nil {
		conn.Close()
		return
	}
	_ = conn.SetReadDeadline(time.Time{})
	c <- conn // it has room
}

// expect makes a ticket. get waits for the connection that bears it.
func (s *starter) expect() (ticket string, get func(context.Context) (net.Conn, error)) {
	b := make([]byte, ticketSize/2)
	rand.Read(b)
	ticket = hex.EncodeToString(b)
	c := make(chan net.Conn, 1)
	s.mu.Lock()
	s.tickets[ticket] = c
	s.mu.Unlock()
	return ticket, func(ctx context.Context) (net.Conn, error) {
		select {
		case conn := <-c:
			return conn, nil
		case <-ctx.Done():
		}
		s.mu.Lock()
		_, waiting := s.tickets[ticket]
		delete(s.tickets, ticket)
		s.mu.Unlock()
		if !waiting {
			conn := <-c // it has just come
			return conn, nil
		}
		return nil, context.Cause(ctx)
	}
}

// connect makes one more connection to a child and sends it the frame that
// message, told of the ticket, makes. Where descriptors can be passed on, more go along.
func (s *starter) connect(ctx context.Context, ctl *control, kind byte, message func(ticket string) any, more ...*os.File) (net.Conn, error) {
	if s.portable {
		ticket, get := s.expect()
		if err := ctl.send(kind, message(ticket), nil); err != nil {
			stop, cancel := context.WithCancel(ctx)
			cancel()
			if conn, _ := get(stop); conn != nil {
				conn.Close()
			}
			return nil, err
		}
		ctx, cancel := context.WithTimeout(ctx, 2*patience)
		defer cancel()
		return get(ctx)
	}
	conn, theirs, err := socketPair()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	if err := ctl.sendWith(kind, message(""), append([]*os.File{theirs}, more...)); err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

// start starts a child. The goroutine that calls it must wait for the process and do
// nothing else: on Linux the child ends with the thread that started it.
func (s *starter) start(compile bool, stderr io.Writer) (cmd *exec.Cmd, conn func(context.Context) (net.Conn, error), err error) {
	args := append(slices.Clone(s.command[1:]), argument)
	if compile {
		args = append(args, argumentCompile)
	}
	if s.portable {
		args = append(args, argumentPortable)
	}
	cmd = exec.Command(s.command[0], args...)
	cmd.Args[0] = "wasmill"
	cmd.Env = []string{}
	cmd.Dir = string(filepath.Separator)
	cmd.Stderr = stderr
	cmd.WaitDelay = time.Second
	confine(cmd)
	if s.portable {
		ticket, get := s.expect()
		cmd.Stdin = strings.NewReader(ticket + " " + s.listener.Addr().String() + "\n")
		return cmd, get, cmd.Start()
	}
	mine, theirs, err := socketPair()
	if err != nil {
		return nil, nil, err
	}
	defer theirs.Close()
	cmd.ExtraFiles = []*os.File{theirs}
	if err := cmd.Start(); err != nil {
		mine.Close()
		return nil, nil, err
	}
	return cmd, func(context.Context) (net.Conn, error) { return mine, nil }, nil
}

func (s *starter) close() error {
	var errs []error
	if s.listener != nil {
		errs = append(errs, s.listener.Close())
		s.done.Wait()
	}
	if s.self != nil {
		errs = append(errs, s.self.Close())
	}
	if s.dir != "" {
		errs = append(errs, os.RemoveAll(s.dir))
	}
	return errors.Join(errs...)
}
