package natsstream

import "github.com/wasmill/wasmill/stream"

// Peek is Describe for those who ask with every call: the description is shared, and
// must not be changed.
func (s *Store) Peek(ref stream.Ref) (*stream.Description, error) {
	inc, err := s.find(ref)
	if err != nil {
		return nil, err
	}
	return inc.desc.Load(), nil
}
