//go:build tools

// Names the command that go.mod pins; nothing is compiled from here.
package tools

import _ "github.com/fullstorydev/grpcurl/cmd/grpcurl"
