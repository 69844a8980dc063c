//! A way to a server that can be cut: bytes of TCP there and back, whatever they mean, by threads.
//!
//! It has an address of its own for as long as it lives, also while it lets nobody in and while what is behind it comes
//! back elsewhere. It can stop after so many bytes, so that a test can do something in the middle of whatever a client does.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::Child;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use crate::damage::wait_until;

/// How much is passed on at once, in bytes.
const PORTION: usize = 16 << 10;
/// How long a look at the client takes while the proxy runs.
const LOOK: Duration = Duration::from_millis(1);

/// What becomes of those who come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Door {
    /// They are let in.
    Open,
    /// They are let in, and out again: something between hangs up.
    Dropped,
    /// Nobody listens.
    Refused,
    /// It has ended.
    Gone,
}

/// A proxy on a loopback address of this process alone.
#[derive(Debug)]
pub struct Proxy {
    shared: Arc<Shared>,
    address: SocketAddr,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    door: Door,
    /// Whether the thread that accepts has a listener.
    is_listening: bool,
    target: SocketAddr,
    /// Bytes both ways, of all connections.
    passed: u64,
    /// When so many have passed, all wait.
    stop_at: Option<u64>,
    is_stopped: bool,
    /// Connections with smaller numbers are broken.
    broken_below: u64,
    next: u64,
    open: Vec<(u64, TcpStream, TcpStream)>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of this lock panics")
    }

    /// How many of so many bytes may pass now; nothing if the connection is broken. Waits while all wait.
    fn permit(&self, connection: u64, wanted: usize) -> Option<usize> {
        let mut state = self.lock();
        loop {
            if connection < state.broken_below {
                return None;
            }
            if !state.is_stopped {
                let room = state.stop_at.map_or(u64::MAX, |at| at.saturating_sub(state.passed));
                let count = wanted.min(usize::try_from(room).unwrap_or(usize::MAX));
                if count > 0 {
                    state.passed += count as u64;
                    return Some(count);
                }
                state.is_stopped = true;
                self.changed.notify_all();
            }
            state = self.changed.wait(state).expect("no holder of this lock panics");
        }
    }

    /// Bytes of one direction, until one side has no more.
    fn pump(&self, connection: u64, mut from: TcpStream, mut to: TcpStream) {
        let mut buffer = vec![0; PORTION];
        let mut carry = || -> io::Result<()> {
            loop {
                let count = from.read(&mut buffer)?;
                if count == 0 {
                    return to.shutdown(Shutdown::Write);
                }
                let mut rest = &buffer[..count];
                while !rest.is_empty() {
                    let permitted = self.permit(connection, rest.len()).ok_or(io::ErrorKind::ConnectionReset)?;
                    to.write_all(&rest[..permitted])?;
                    rest = &rest[permitted..];
                }
            }
        };
        if carry().is_err() {
            let _ = from.shutdown(Shutdown::Both);
            let _ = to.shutdown(Shutdown::Both);
        }
    }

    /// Lets those in who come, as the door says, until the proxy ends.
    fn accept(self: &Arc<Self>, address: SocketAddr, mut listener: Option<TcpListener>) {
        loop {
            let door = self.lock().door;
            match door {
                Door::Gone => return,
                Door::Refused => {
                    listener = None;
                    let mut state = self.lock();
                    state.is_listening = false;
                    self.changed.notify_all();
                    while state.door == Door::Refused {
                        state = self.changed.wait(state).expect("no holder of this lock panics");
                    }
                }
                Door::Open | Door::Dropped => {
                    let open = listener.get_or_insert_with(|| TcpListener::bind(address).expect("its own address"));
                    self.lock().is_listening = true;
                    self.changed.notify_all();
                    if let Ok((client, _)) = open.accept() {
                        self.connect(client);
                    }
                }
            }
        }
    }

    fn connect(self: &Arc<Self>, client: TcpStream) {
        // Whoever is let in has a number at once, so that whoever hangs up means this one, too.
        let (number, target) = {
            let mut state = self.lock();
            if state.door != Door::Open {
                return;
            }
            state.next += 1;
            (state.next - 1, state.target)
        };
        let Ok(server) = TcpStream::connect(target) else { return };
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        let both = |stream: &TcpStream| stream.try_clone().expect("the same socket");
        let mut state = self.lock();
        // They hung up meanwhile.
        if number < state.broken_below {
            return;
        }
        state.open.push((number, both(&client), both(&server)));
        drop(state);
        let shared = Arc::clone(self);
        std::thread::spawn(move || {
            std::thread::scope(|scope| {
                scope.spawn(|| shared.pump(number, both(&client), both(&server)));
                shared.pump(number, both(&server), both(&client));
            });
            shared.lock().open.retain(|(other, ..)| *other != number);
        });
    }
}

/// An address that no client's own end ever has, so that a port of it stays free while nobody listens; where the
/// environment has proxies, the one that these are surely not used for.
fn own_address() -> Ipv4Addr {
    if ["http_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"].iter().any(|name| std::env::var_os(name).is_some()) {
        return Ipv4Addr::LOCALHOST;
    }
    let process = std::process::id();
    Ipv4Addr::new(127, 64 | (process >> 16) as u8 & 63, (process >> 8) as u8, process as u8 | 1)
}

impl Proxy {
    /// A way to a server.
    ///
    /// # Panics
    /// If there is no port.
    pub fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind((own_address(), 0)).expect("a port");
        let address = listener.local_addr().expect("its address");
        let state = State {
            door: Door::Open,
            is_listening: true,
            target,
            passed: 0,
            stop_at: None,
            is_stopped: false,
            broken_below: 0,
            next: 0,
            open: Vec::new(),
        };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
        let accepting = Arc::clone(&shared);
        std::thread::spawn(move || accepting.accept(address, Some(listener)));
        Self { shared, address }
    }

    /// Where clients go.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// New connections go there from now on.
    pub fn lead_to(&self, target: SocketAddr) {
        self.shared.lock().target = target;
    }

    /// Bytes that have passed, there and back.
    pub fn passed(&self) -> u64 {
        self.shared.lock().passed
    }

    /// All wait when so many more bytes have passed.
    pub fn stop_after(&self, bytes: u64) {
        let mut state = self.shared.lock();
        state.stop_at = Some(state.passed + bytes);
        state.is_stopped = false;
    }

    /// Waits until it has stopped, or the client has ended: whether it has stopped.
    ///
    /// # Panics
    /// If neither happens within minutes.
    #[track_caller]
    pub fn wait_for_stop(&self, client: &mut Child) -> bool {
        let mut ended = false;
        wait_until("the proxy stops, or its client ends", || {
            let state = self.shared.lock();
            let (state, _) = self.shared.changed.wait_timeout(state, LOOK).expect("no holder of this lock panics");
            let is_stopped = state.is_stopped;
            drop(state);
            ended = !is_stopped && client.try_wait().expect("a state").is_some();
            ended || is_stopped
        });
        !ended
    }

    /// Goes on after a stop, and stops no more.
    pub fn go_on(&self) {
        let mut state = self.shared.lock();
        (state.stop_at, state.is_stopped) = (None, false);
        self.shared.changed.notify_all();
    }

    /// Breaks all connections that there are.
    pub fn hang_up(&self) {
        let mut state = self.shared.lock();
        state.broken_below = state.next;
        for (_, client, server) in state.open.drain(..) {
            let _ = (client.shutdown(Shutdown::Both), server.shutdown(Shutdown::Both));
        }
        self.shared.changed.notify_all();
    }

    /// Hangs up, also on everybody who comes.
    pub fn cut(&self) {
        self.set(Door::Dropped);
        self.hang_up();
    }

    /// Hangs up, and nobody listens any more.
    pub fn refuse(&self) {
        self.set(Door::Refused);
        self.hang_up();
    }

    /// Lets clients in again.
    pub fn restore(&self) {
        self.go_on();
        self.set(Door::Open);
    }

    fn set(&self, door: Door) {
        let was = std::mem::replace(&mut self.shared.lock().door, door);
        self.shared.changed.notify_all();
        if door == was {
            return;
        }
        // Whoever waits for a client is given one, to look at the door again.
        if was != Door::Refused && matches!(door, Door::Refused | Door::Gone) {
            let _ = TcpStream::connect(self.address);
        }
        if door == Door::Gone {
            return;
        }
        let mut state = self.shared.lock();
        while state.is_listening == (door == Door::Refused) {
            state = self.shared.changed.wait(state).expect("no holder of this lock panics");
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.go_on();
        self.set(Door::Gone);
        self.hang_up();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that sends back what it gets.
    fn echo() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("its address");
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                std::thread::spawn(move || io::copy(&mut &client, &mut &client));
            }
        });
        address
    }

    fn answer_to(proxy: &Proxy, bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut stream = TcpStream::connect(proxy.address())?;
        stream.write_all(bytes)?;
        stream.shutdown(Shutdown::Write)?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        Ok(answer)
    }

    #[test]
    fn it_carries_stops_hangs_up_refuses_and_comes_back() {
        let proxy = Proxy::to(echo());
        let bytes = vec![7; 100_000];
        assert_eq!(answer_to(&proxy, &bytes).expect("an answer"), bytes);
        assert_eq!(proxy.passed(), 200_000);
        proxy.stop_after(150_000);
        let cut = std::thread::scope(|scope| {
            let client = scope.spawn(|| answer_to(&proxy, &bytes));
            wait_until("it stops", || proxy.shared.lock().is_stopped);
            assert_eq!(proxy.passed(), 350_000);
            proxy.cut();
            client.join().expect("no panic")
        });
        assert!(cut.is_err() || cut.is_ok_and(|answer| answer.len() < 100_000));
        assert!(answer_to(&proxy, b"x").map_or(true, |answer| answer.is_empty()), "it hangs up");
        proxy.refuse();
        let error = TcpStream::connect(proxy.address()).expect_err("nobody listens");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        proxy.restore();
        assert_eq!(answer_to(&proxy, &bytes).expect("an answer"), bytes);
    }
}
