package natsd

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"sync"
	"time"
)

// QuotaError is an [ErrReserve] of [Options.MaxDisk] with its figures.
type QuotaError struct {
	Dir         string // data directory
	Used, Limit int64  // bytes
}

func (e *QuotaError) Error() string {
	return fmt.Sprintf("natsd: disk limit reached: data directory %s takes %s of the %s that it may; shorten the retention of streams, delete some, or start with a larger limit", e.Dir, size(e.Used), size(e.Limit))
}

// Is makes errors.Is(err, ErrReserve) true.
func (e *QuotaError) Is(target error) bool { return target == ErrReserve }

const (
	warnShare = 0.8  // of the quota: warn
	calmShare = 0.75 // and warn again only after it was less than this
	// To measure many files takes a while. It may take a fiftieth of the time,
	// and a tenth where something would be refused for what may be out of date.
	measureCost, refusalCost = 50, 10
)

// quota keeps the data directory within a limit. What was admitted since it was
// measured is added. So it is exceeded by no more than what was admitted and not
// yet written when it was measured, and by what JetStream writes for itself.
type quota struct {
	most    int64 // bytes; 0: no limit
	measure func() int64
	warn    func(used, most int64, over bool) // called without mu

	mu       sync.Mutex // held while measuring
	at       time.Time
	took     time.Duration
	found    int64
	admitted int64 // since at
	warned   bool
}

// admit books bytes, or refuses them after having measured anew.
func (q *quota) admit(class Class, bytes int64) (used int64, ok bool) {
	if q.most == 0 {
		return 0, true
	}
	q.mu.Lock()
	most := q.most
	if class == Journal {
		most += most / 10
	}
	q.look(max(freshness, measureCost*q.took))
	if q.found+q.admitted+bytes > most {
		q.look(refusalCost * q.took)
	}
	if ok = q.found+q.admitted+bytes <= most; ok {
		q.admitted += bytes
	}
	used = q.found + q.admitted
	q.mu.Unlock()
	q.judge()
	return used, ok
}

// look measures if the last time is longer ago than that. It needs mu.
func (q *quota) look(ago time.Duration) {
	start := time.Now()
	if !q.at.IsZero() && start.Sub(q.at) < ago {
		return
	}
	q.found, q.admitted = q.measure(), 0
	q.at = time.Now()
	q.took = q.at.Sub(start)
}

// judge tells once when the quota is nearly reached, and when that is over.
func (q *quota) judge() {
	q.mu.Lock()
	used, was := q.found+q.admitted, q.warned
	switch share := float64(used) / float64(q.most); {
	case share >= warnShare:
		q.warned = true
	case share < calmShare:
		q.warned = false
	}
	now := q.warned
	q.mu.Unlock()
	if now != was {
		q.warn(used, q.most, now)
	}
}

// Quota tells how many bytes count towards [Options.MaxDisk], or MaxMemory, what
// the limit is (0: none), and whether it is nearly reached: from 80 % on, until it
// is less than 75 %.
func (s *Server) Quota() (used, limit int64, warning bool) {
	q := &s.quota
	if q.most == 0 {
		return 0, 0, false
	}
	q.mu.Lock()
	q.look(max(freshness, measureCost*q.took))
	q.mu.Unlock()
	q.judge()
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.found + q.admitted, q.most, q.warned
}

func (s *Server) warnQuota(used, most int64, over bool) {
	if over {
		s.opts.Logger.Warn("the limit of what is kept is nearly reached", "dir", s.opts.Dir, "used", size(used), "limit", size(most))
		return
	}
	s.opts.Logger.Info("there is room enough below the limit again", "dir", s.opts.Dir, "used", size(used), "limit", size(most))
}

// files is what all files of the data directory take. One that vanishes meanwhile
// takes nothing.
func (s *Server) files() int64 {
	total := int64(0)
	_ = filepath.WalkDir(s.opts.Dir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil {
			return nil
		}
		if info, err := e.Info(); err == nil && info.Mode().IsRegular() {
			total += info.Size()
		}
		return nil
	})
	return total
}
