// The way from Kafka into vmagent and of its aggregates into CSV.
//
// The open-source vmagent reads no Kafka, so this program does: it reads the
// topic of metrics to its end, sends each sample to vmagent in Influx line
// protocol without a time (stream aggregation goes by arrival), stops vmagent,
// which then flushes, and writes what came back by remote write. It says on
// standard error how much CPU time vmagent took of the whole.
package main

import (
	"fmt"
	"log"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

func main() {
	log.SetFlags(0)
	if err := run(); err != nil {
		log.Fatal(err)
	}
}

// run expects the arguments: path of vmagent, its configuration, an empty folder.
func run() error {
	if len(os.Args) != 4 {
		return fmt.Errorf("usage: bridge VMAGENT CONFIGURATION FOLDER")
	}
	agentPath, configuration, folder := os.Args[1], os.Args[2], os.Args[3]
	parallelism, err := strconv.Atoi(os.Getenv("PARALLELISM"))
	if err != nil {
		return fmt.Errorf("environment: `PARALLELISM`: %w", err)
	}
	receiver, err := listen()
	if err != nil {
		return err
	}
	port, err := freePort()
	if err != nil {
		return err
	}
	address := fmt.Sprintf("127.0.0.1:%d", port)
	agent := exec.Command(agentPath,
		"-httpListenAddr="+address,
		"-remoteWrite.url="+receiver.url,
		"-remoteWrite.forcePromProto",
		"-remoteWrite.tmpDataPath="+folder,
		"-remoteWrite.streamAggr.config="+configuration,
		"-loggerLevel=ERROR",
	)
	agent.Stderr = os.Stderr
	agent.Env = append(os.Environ(), "GOMAXPROCS="+strconv.Itoa(parallelism))
	agent.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := agent.Start(); err != nil {
		return fmt.Errorf("could not start vmagent: %w", err)
	}
	defer agent.Process.Kill()
	if err := answers(address); err != nil {
		return err
	}
	sent, err := feed("http://"+address+"/write", parallelism)
	if err != nil {
		return err
	}
	if err := agent.Process.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("could not stop vmagent: %w", err)
	}
	if err := agent.Wait(); err != nil {
		return fmt.Errorf("vmagent failed: %w", err)
	}
	counted, err := receiver.write(filepath.Join(os.Getenv("OUT"), "q1-vmagent.csv"))
	if err != nil {
		return err
	}
	state := agent.ProcessState
	log.Printf("sent=%d counted=%.0f vmagent_cpu_s=%.2f", sent, counted, (state.UserTime() + state.SystemTime()).Seconds())
	return nil
}

// freePort is one that was free a moment ago.
func freePort() (int, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("could not find a free port: %w", err)
	}
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port, nil
}

// answers waits until something listens there.
func answers(address string) error {
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		connection, err := net.Dial("tcp", address)
		if err == nil {
			return connection.Close()
		}
	}
	return fmt.Errorf("vmagent did not listen on %s within 30 s", address)
}
