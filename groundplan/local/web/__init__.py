"""What web pages call, on one machine: REST APIs of API Gateway before the endpoints, and Cognito's sign-in."""
